// Sixteen numbers at a time: float, or pairs of bfloat16 whose products are summed in float.
//
// `Single` and `Half` are the two formats of weights, cached keys and values. Both see memory as 32-bit words: one
// float, or two neighbouring bfloat16. Every loop below is written once, over words.

#pragma once

#include "numbers.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

typedef float Lanes __attribute__((vector_size(64)));
typedef int32_t Whole __attribute__((vector_size(64)));
typedef float Unaligned __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t UnalignedWhole __attribute__((vector_size(64), aligned(4), may_alias));
static const int LANES = 16;
static const Whole STEPS = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static inline Lanes load(const float* from) { return *(const Unaligned*)from; }
static inline void store(float* to, Lanes value) { *(Unaligned*)to = value; }
static inline Lanes spread(float value) { return Lanes{} + value; }
static inline Lanes larger(Lanes a, Lanes b) { return a > b ? a : b; }

#if defined(__clang__)
#define SHUFFLED(v, ...) __builtin_shufflevector(v, v, __VA_ARGS__)
#else
#define SHUFFLED(v, ...) __builtin_shuffle(v, Whole{__VA_ARGS__})
#endif

// Halves are folded onto each other: four steps in place of sixteen, in one order whatever compiles it.
static inline float total(Lanes v) {
    v += SHUFFLED(v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    v += SHUFFLED(v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
    v += SHUFFLED(v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    v += SHUFFLED(v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    return v[0];
}

static inline float largest(Lanes v) {
    v = larger(v, SHUFFLED(v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
    v = larger(v, SHUFFLED(v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11));
    v = larger(v, SHUFFLED(v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
    v = larger(v, SHUFFLED(v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14));
    return v[0];
}

// ln x within 2 units in the last place, for normal x > 0 (Cephes' polynomial)
static inline Lanes logarithm(Lanes x) {
    Whole bits = (Whole)x;
    Lanes part = (Lanes)((bits & 0x007FFFFF) | 0x3F000000);  // 0.5 … 1
    Whole low = part < 0.707106781f;
    Whole exponent = (bits >> 23) - 126 + low;  // `low` is −1 where true
    part = (low ? part + part : part) - 1.0f;
    Lanes square = part * part, poly = part * 7.0376836292e-2f - 1.1514610310e-1f;
    poly = poly * part + 1.1676998740e-1f;
    poly = poly * part - 1.2420140846e-1f;
    poly = poly * part + 1.4249322787e-1f;
    poly = poly * part - 1.6668057665e-1f;
    poly = poly * part + 2.0000714765e-1f;
    poly = poly * part - 2.4999993993e-1f;
    poly = poly * part + 3.3333331174e-1f;
    Lanes power = __builtin_convertvector(exponent, Lanes);
    poly = poly * part * square + power * -2.12194440e-4f - 0.5f * square;
    return part + poly + power * 0.693359375f;
}

// 1/x within 2 units in the last place, for 1 ≤ x; 0 where that is too small for a normal number
static inline Lanes reciprocal(Lanes x) {
#if defined(__AVX512F__)
    Lanes near = (Lanes)_mm512_rcp14_ps((__m512)x);
    return near * (2.0f - x * near);
#else
    return 1.0f / x;
#endif
}

// e^x within 2 units in the last place; 0 below −87, finite above 88 (Cephes' polynomial).
static inline Lanes exponential(Lanes x) {
    Lanes low = spread(-87.0f), high = spread(88.0f);
    Lanes safe = x < low ? low : x > high ? high : x;
    Lanes shifted = safe * 1.44269504f + 12582912.0f;
    Lanes power = shifted - 12582912.0f;
    Lanes rest = safe - power * 0.693359375f + power * 2.12194440e-4f;
    Lanes poly = rest * 1.9875691500e-4f + 1.3981999507e-3f;
    poly = poly * rest + 8.3334519073e-3f;
    poly = poly * rest + 4.1665795894e-2f;
    poly = poly * rest + 1.6666665459e-1f;
    poly = poly * rest + 5.0000001201e-1f;
    poly = poly * rest * rest + rest + 1.0f;
    Whole exponent = ((Whole)shifted - 0x4B400000 + 127) << 23;
    Lanes value = poly * (Lanes)exponent;
    return x < low ? Lanes{} : value;
}

// σ(x) = 1 / (1 + e^−x)
static inline Lanes sigmoid(Lanes x) { return reciprocal(1.0f + exponential(-x)); }

struct Single {
    typedef float Element;
    static const int PER_WORD = 1;

    static inline Lanes multiply_add(Lanes sum, uint32_t word, const void* lanes) {
        float factor;
        std::memcpy(&factor, &word, 4);
        return sum + factor * load((const float*)lanes);
    }
    static inline void narrow(float* to, Lanes value) { store(to, value); }
};

struct Half {
    typedef bfloat16 Element;
    static const int PER_WORD = 2;

#if defined(__AVX512BF16__)
    static inline Lanes multiply_add(Lanes sum, uint32_t word, const void* lanes) {
        __m512i pair = _mm512_set1_epi32((int)word), many = _mm512_loadu_si512(lanes);
        return (Lanes)_mm512_dpbf16_ps((__m512)sum, (__m512bh)pair, (__m512bh)many);
    }
    static inline void narrow(bfloat16* to, Lanes value) {
        __m256bh small = _mm512_cvtneps_pbh((__m512)value);
        std::memcpy(to, &small, 32);
    }
#else
    static inline Lanes multiply_add(Lanes sum, uint32_t word, const void* lanes) {
        Whole many = *(const UnalignedWhole*)lanes;
        uint32_t low = word << 16, high = word & 0xFFFF0000u;
        float a, b;
        std::memcpy(&a, &low, 4);
        std::memcpy(&b, &high, 4);
        return sum + a * (Lanes)(many << 16) + b * (Lanes)(many & (int32_t)0xFFFF0000);
    }
    static inline void narrow(bfloat16* to, Lanes value) {
        for (int i = 0; i < LANES; ++i) to[i] = as<bfloat16>(value[i]);
    }
#endif
};

typedef uint16_t Halves __attribute__((vector_size(32), aligned(2), may_alias));

// Sixteen numbers of either format as float, and back
static inline Lanes take(const float* from) { return load(from); }
static inline Lanes take(const bfloat16* from) {
    return (Lanes)(__builtin_convertvector(*(const Halves*)from, Whole) << 16);
}
static inline void put(float* to, Lanes value) { store(to, value); }
static inline void put(bfloat16* to, Lanes value) { Half::narrow(to, value); }

// The first `count` of sixteen, the others 0
template <typename T>
static inline Lanes take_some(const T* from, int64_t count) {
    if (count >= LANES) return take(from);
    Lanes value = {};
    for (int64_t i = 0; i < count; ++i) value[i] = number(from[i]);
    return value;
}
template <typename T>
static inline void put_some(T* to, Lanes value, int64_t count) {
    if (count >= LANES) return put(to, value);
    for (int64_t i = 0; i < count; ++i) to[i] = as<T>(value[i]);
}

template <class P>
static inline uint32_t word_of(const typename P::Element* from) {
    uint32_t word;
    std::memcpy(&word, from, 4);
    return word;
}
