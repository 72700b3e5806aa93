// Threads that work side by side and wait for each other, without holding a processor that somebody else could use.
//
// OpenMP's own barriers spin for milliseconds by default: beside other processes each waits for a thread that is not
// scheduled. These spin for some ten microseconds, then yield, then sleep.

#pragma once

#include <atomic>
#include <cstdint>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__linux__)
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

struct Meeting {
    std::atomic<int32_t> phase{0}, come{0}, asleep{0};

    void wait(int of) {
        int32_t now = phase.load();
        if (come.fetch_add(1) + 1 == of) {
            come.store(0);
            phase.store(now + 1);
            if (asleep.load()) wake();
            return;
        }
        for (int i = 0; i < 1000; ++i) {
            if (phase.load(std::memory_order_acquire) != now) return;
#if defined(__x86_64__)
            __builtin_ia32_pause();
#endif
        }
        for (int i = 0; phase.load() == now; ++i) rest(now, i);
    }

  private:
#if defined(__linux__)
    void wake() { syscall(SYS_futex, &phase, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0); }
    void rest(int32_t now, int times) {
        if (times < 10) {
            sched_yield();
            return;
        }
        asleep.fetch_add(1);
        syscall(SYS_futex, &phase, FUTEX_WAIT_PRIVATE, now, nullptr, nullptr, 0);  // returns at once if it moved on
        asleep.fetch_sub(1);
    }
#else
    void wake() {}
    void rest(int32_t, int) {}
#endif
};

// One thread's place among them.
struct Team {
    Meeting& meeting;
    int me, of;

    explicit Team(Meeting& shared) : meeting(shared), me(0), of(1) {
#if defined(_OPENMP)
        me = omp_get_thread_num();
        of = omp_get_num_threads();
#endif
    }
    void wait() const {
        if (of > 1) meeting.wait(of);
    }
    // its part of `count` equal pieces of work: [from(count), to(count))
    int64_t from(int64_t count) const { return count * me / of; }
    int64_t to(int64_t count) const { return count * (me + 1) / of; }
};
