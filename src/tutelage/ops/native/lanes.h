// Sixteen numbers at a time: float, or pairs of bfloat16 whose products are summed in float.
//
// `Single` and `Half` are the two formats of weights, cached keys and values. Both see memory as 32-bit words: one
// float, or two neighbouring bfloat16. Every loop below is written once, over words.

#pragma once

#include "numbers.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

typedef float Lanes __attribute__((vector_size(64)));
typedef int32_t Whole __attribute__((vector_size(64)));
typedef float Unaligned __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t UnalignedWhole __attribute__((vector_size(64), aligned(4), may_alias));
static const int LANES = 16;

static inline Lanes load(const float* from) { return *(const Unaligned*)from; }
static inline void store(float* to, Lanes value) { *(Unaligned*)to = value; }
static inline Lanes spread(float value) { return Lanes{} + value; }
static inline Lanes larger(Lanes a, Lanes b) { return a > b ? a : b; }

static inline float total(Lanes v) {
    float sum = 0;
    for (int i = 0; i < LANES; ++i) sum += v[i];
    return sum;
}

static inline float largest(Lanes v) {
    float top = v[0];
    for (int i = 1; i < LANES; ++i) top = v[i] > top ? v[i] : top;
    return top;
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

template <class P>
static inline uint32_t word_of(const typename P::Element* from) {
    uint32_t word;
    std::memcpy(&word, from, 4);
    return word;
}
