// The activations of a feed-forward layer and their gradients: silu(gate)·up, and gelu by its tanh formula.
//
// Sixteen numbers at a time.

#pragma once

#include <type_traits>

#include "lanes.h"

// work(place, how many) for sixteen at a time, then for what is left; the number is a constant where it is sixteen
template <class Work>
static inline void in_lanes(int64_t count, Work work) {
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) work(i, std::integral_constant<int64_t, LANES>());
    if (i < count) work(i, count - i);
}

// both [rows, 2·width]: gate, then up → out [rows, width] = silu(gate)·up
template <typename T>
static void gate_forward(const T* both, T* out, int64_t rows, int64_t width, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; ++row) {
        const T *gate = both + row * 2 * width, *other = gate + width;
        T* to = out + row * width;
        in_lanes(width, [&](int64_t i, auto count) {
            Lanes x = take_some(gate + i, count);
            put_some(to + i, x * sigmoid(x) * take_some(other + i, count), count);
        });
    }
}

// also gives the forward's answer again, so that it need not be kept
template <typename T>
static void gate_backward(const T* both, const T* back, T* out, T* d_both, int64_t rows, int64_t width, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; ++row) {
        const T *gate = both + row * 2 * width, *other = gate + width, *g = back + row * width;
        T *to = out + row * width, *d_gate = d_both + row * 2 * width, *d_other = d_gate + width;
        in_lanes(width, [&](int64_t i, auto count) {
            Lanes x = take_some(gate + i, count), y = take_some(other + i, count), slope = take_some(g + i, count);
            Lanes share = sigmoid(x), silu = x * share;
            put_some(to + i, silu * y, count);
            put_some(d_gate + i, slope * y * (share + silu * (1.0f - share)), count);
            put_some(d_other + i, slope * silu, count);
        });
    }
}

// gelu by its tanh formula (1606.08415): x·σ(2u), u = √(2/π)·(x + 0.044715·x³)
struct Gelu {
    Lanes out, slope;
    explicit Gelu(Lanes x) {
        const float TWICE = 1.5957691216f, CUBE = 0.044715f;
        Lanes square = x * x, share = sigmoid(TWICE * (x + CUBE * square * x));
        out = x * share;
        slope = share + out * (1.0f - share) * TWICE * (1.0f + 3.0f * CUBE * square);
    }
};

template <typename T>
static void gelu_forward(const T* x, T* out, int64_t count, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < count; i += LANES)
        put_some(out + i, Gelu(take_some(x + i, count - i)).out, count - i);
}

// also gives the forward's answer again
template <typename T>
static void gelu_backward(const T* x, const T* back, T* out, T* d_x, int64_t count, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < count; i += LANES) {
        Gelu made(take_some(x + i, count - i));
        put_some(out + i, made.out, count - i);
        put_some(d_x + i, take_some(back + i, count - i) * made.slope, count - i);
    }
}
