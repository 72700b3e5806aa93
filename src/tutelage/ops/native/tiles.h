// The matrix unit (AMX) of a thread: eight registers of up to 16 rows of 64 bytes each, whose shapes are set together.
//
// A product takes rows of words (two bfloat16 each) and a block [words, 16 columns], and adds to 16 × 16 floats.

#pragma once

#include <cstdint>

#if defined(__AMX_BF16__) && defined(__AMX_TILE__) && defined(__linux__)
#define TILES_OF_AMX 1
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

static const int TILE = 16;

#if defined(TILES_OF_AMX)
// Whether the kernel lets this process use the registers; asked once.
static bool amx_allowed() {
    const int ask = 0x1023, tile_data = 18;
    static const bool allowed = syscall(SYS_arch_prctl, ask, tile_data) == 0;
    return allowed;
}

struct Shapes {
    alignas(64) uint8_t bytes[64] = {1};

    void set(int tile, int rows, int words) {
        bytes[16 + 2 * tile] = (uint8_t)(4 * words);
        bytes[48 + tile] = (uint8_t)rows;
    }
    static Shapes whole() {
        Shapes shapes;
        for (int t = 0; t < 8; ++t) shapes.set(t, TILE, TILE);
        return shapes;
    }
    // GCC takes these instructions to touch 8 bytes of the 64, and may put off or drop what is written to the others.
    static void seen(void* all) { __asm__ volatile("" : : "r"(all) : "memory"); }
    // All registers are zero afterwards.
    void use() {
        seen(bytes);
        _tile_loadconfig(bytes);
    }
    // The shapes are a thread's own and others (oneDNN) set them too: they are put back as they were found.
    void keep() {
        _tile_storeconfig(bytes);
        seen(bytes);
    }
    void put_back() {
        if (bytes[0])
            use();
        else
            _tile_release();
    }
};

// The registers of one thread while a block of work lasts, all whole.
struct TileSession {
    Shapes before;
    bool open;
    explicit TileSession(bool wanted) : open(wanted) {
        if (!open) return;
        before.keep();
        Shapes::whole().use();
    }
    ~TileSession() {
        if (open) before.put_back();
    }
};
#else
static bool amx_allowed() { return false; }
struct TileSession {
    explicit TileSession(bool) {}
};
#endif
