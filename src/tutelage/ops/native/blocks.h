// Products of small matrices that lie in cache, in two kinds of arithmetic with one face.
//
//   Matrix  bfloat16 in, float32 sums, on the processor's matrix unit (AMX), where it has one
//   Vector  float32, loops that the compiler turns into vector instructions
//
// C [M, N] float32 (+)= A [M, K] · B [K, N]; M and N in steps of 32, K in steps of 32; A by rows, B packed:
//   Matrix: tiles of 32 × 16, in each the pairs of rows side by side (what the instruction wants); Vector: by rows.

#pragma once

#include <vector>

#include "numbers.h"
#include "tiles.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#if defined(TILES_OF_AMX) && defined(__AVX512F__) && defined(__AVX512BF16__)
#define HAVE_MATRIX_UNIT 1
#else
#define HAVE_MATRIX_UNIT 0
#endif

// `count` numbers in a row, in another format
template <typename To, typename From>
static inline void convert(To* to, const From* from, int64_t count) {
    for (int64_t i = 0; i < count; ++i) to[i] = as<To>(number(from[i]));
}

template <>
inline void convert(float* to, const float* from, int64_t count) {
    std::memcpy(to, from, count * sizeof(float));
}

template <>
inline void convert(bfloat16* to, const bfloat16* from, int64_t count) {
    std::memcpy(to, from, count * sizeof(bfloat16));
}

#if defined(__AVX512BF16__) && defined(__AVX512F__)
template <>
inline void convert(bfloat16* to, const float* from, int64_t count) {
    int64_t i = 0;
    for (; i + 16 <= count; i += 16) {
        __m256bh half = _mm512_cvtneps_pbh(_mm512_loadu_ps(from + i));
        _mm256_storeu_si256((__m256i*)(to + i), (__m256i)half);
    }
    for (; i < count; ++i) to[i] = as<bfloat16>(from[i]);
}
#endif

static inline int64_t up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// e^x to 2 units in the last place; 0 below −87. Written so that a loop over it becomes vector instructions.
static inline float exponential(float x) {
    float clipped = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
    float whole = std::nearbyint(clipped * 1.44269504f);
    float rest = clipped - whole * 0.693359375f + whole * 2.12194440e-4f;
    float sum = 1.9875691500e-4f;
    sum = sum * rest + 1.3981999507e-3f;
    sum = sum * rest + 8.3334519073e-3f;
    sum = sum * rest + 4.1665795894e-2f;
    sum = sum * rest + 1.6666665459e-1f;
    sum = sum * rest + 5.0000001201e-1f;
    sum = sum * rest * rest + rest + 1.0f;
    int32_t bits = ((int32_t)whole + 127) << 23;
    float power;
    std::memcpy(&power, &bits, 4);
    return x < -87.0f ? 0.0f : sum * power;
}

struct Vector {
    typedef float Element;
    static void begin() {}
    static void end() {}
    // where the element (k, n) of a packed B with `width` columns begins; k and n in steps of 32
    static const float* at(const float* b, int64_t width, int64_t k, int64_t n) { return b + k * width + n; }
    // B = rows [rows, width]
    static void pack(float* b, const float* from, int64_t rows, int64_t width) {
        std::memcpy(b, from, rows * width * sizeof(float));
    }
    // B [depth, count] = the transpose of rows [count, depth]
    static void pack_transposed(float* b, const float* from, int64_t count, int64_t depth) {
        transpose(b, from, count, depth);
    }
    // The same of sums, which are float in both kinds
    static void turn(float* to, const float* from, int64_t rows, int64_t width) { transpose(to, from, rows, width); }
    // [width, rows] = the transpose of [rows, width]
    static void transpose(float* to, const float* from, int64_t rows, int64_t width) {
        for (int64_t r = 0; r < rows; r += 16)
            for (int64_t c = 0; c < width; c += 16)
                for (int64_t i = 0; i < 16; ++i)
                    for (int64_t j = 0; j < 16; ++j) to[(c + i) * rows + r + j] = from[(r + j) * width + c + i];
    }
    static void multiply(const float* a, int64_t lda, const float* b, int64_t width, float* c, int64_t ldc, int64_t m,
                         int64_t n, int64_t k, bool add) {
        const int R = 4, W = 32;
        for (int64_t j = 0; j < n; j += W)
            for (int64_t i = 0; i < m; i += R) {
                float sums[R][W];
                for (int r = 0; r < R; ++r)
                    for (int w = 0; w < W; ++w) sums[r][w] = add ? c[(i + r) * ldc + j + w] : 0.0f;
                for (int64_t p = 0; p < k; ++p)
                    for (int r = 0; r < R; ++r) {
                        float left = a[(i + r) * lda + p];
#pragma omp simd
                        for (int w = 0; w < W; ++w) sums[r][w] += left * b[p * width + j + w];
                    }
                for (int r = 0; r < R; ++r)
                    for (int w = 0; w < W; ++w) c[(i + r) * ldc + j + w] = sums[r][w];
            }
    }
};

#if HAVE_MATRIX_UNIT

struct Matrix {
    typedef bfloat16 Element;
    static Shapes& found() {
        static thread_local Shapes shapes;
        return shapes;
    }
    static void begin() {
        found().keep();
        Shapes::whole().use();
    }
    static void end() { found().put_back(); }
    static const bfloat16* at(const bfloat16* b, int64_t width, int64_t k, int64_t n) {
        return b + (k / 32 * (width / 16) + n / 16) * 512;
    }
    // Two numbers side by side as one: pair (k, k + 1) of column n is what the instruction multiplies.
    static void pack(bfloat16* b, const bfloat16* from, int64_t rows, int64_t width) {
        for (int64_t r = 0; r < rows; r += 2)
            for (int64_t n = 0; n < width; n += 16) {
                __m256i first = _mm256_loadu_si256((const __m256i*)(from + r * width + n));
                __m256i second = _mm256_loadu_si256((const __m256i*)(from + (r + 1) * width + n));
                __m512i pair = _mm512_or_si512(_mm512_cvtepu16_epi32(first),
                                               _mm512_slli_epi32(_mm512_cvtepu16_epi32(second), 16));
                _mm512_storeu_si512(b + (r / 32 * (width / 16) + n / 16) * 512 + (r % 32) * 16, pair);
            }
    }
    static void pack_transposed(bfloat16* b, const bfloat16* from, int64_t count, int64_t depth) {
        for (int64_t n = 0; n < count; n += 16)
            for (int64_t k = 0; k < depth; k += 32)
                transpose16((const int32_t*)(from + n * depth + k), depth / 2,
                            (int32_t*)(b + (k / 32 * (count / 16) + n / 16) * 512), 16);
    }
    static void transpose(bfloat16* to, const bfloat16* from, int64_t rows, int64_t width) {
        alignas(64) int32_t pairs[256];
        for (int64_t r = 0; r < rows; r += 32)
            for (int64_t n = 0; n < width; n += 16) {
                for (int i = 0; i < 16; ++i) {
                    const bfloat16* row = from + (r + 2 * i) * width + n;
                    __m512i first = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)row));
                    __m512i second = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)(row + width)));
                    _mm512_store_si512(pairs + 16 * i, _mm512_or_si512(first, _mm512_slli_epi32(second, 16)));
                }
                transpose16(pairs, 16, (int32_t*)(to + n * rows + r), rows / 2);
            }
    }
    static void turn(float* to, const float* from, int64_t rows, int64_t width) {
        for (int64_t r = 0; r < rows; r += 16)
            for (int64_t c = 0; c < width; c += 16)
                transpose16((const int32_t*)(from + r * width + c), width, (int32_t*)(to + c * rows + r), rows);
    }
    // 16 × 16 numbers of 4 bytes
    static void transpose16(const int32_t* from, int64_t stride, int32_t* to, int64_t to_stride) {
        __m512i a[16], b[16];
        for (int i = 0; i < 16; ++i) a[i] = _mm512_loadu_si512(from + i * stride);
        for (int i = 0; i < 16; i += 2) {
            b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
            b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
        }
        for (int i = 0; i < 16; i += 4)
            for (int j = 0; j < 2; ++j) {
                a[i + 2 * j] = _mm512_unpacklo_epi64(b[i + j], b[i + 2 + j]);
                a[i + 2 * j + 1] = _mm512_unpackhi_epi64(b[i + j], b[i + 2 + j]);
            }
        for (int i = 0; i < 16; i += 8)
            for (int j = 0; j < 4; ++j) {
                b[i + j] = _mm512_shuffle_i32x4(a[i + j], a[i + 4 + j], 0x88);
                b[i + 4 + j] = _mm512_shuffle_i32x4(a[i + j], a[i + 4 + j], 0xdd);
            }
        for (int j = 0; j < 8; ++j) {
            a[j] = _mm512_shuffle_i32x4(b[j], b[8 + j], 0x88);
            a[8 + j] = _mm512_shuffle_i32x4(b[j], b[8 + j], 0xdd);
        }
        for (int i = 0; i < 16; ++i) _mm512_storeu_si512(to + i * to_stride, a[i]);
    }
    static void multiply(const bfloat16* a, int64_t lda, const bfloat16* b, int64_t width, float* c, int64_t ldc,
                         int64_t m, int64_t n, int64_t k, bool add) {
        int64_t step = width / 16 * 512, cs = ldc * 4, as = lda * 2;
        for (int64_t i = 0; i < m; i += 32)
            for (int64_t j = 0; j < n; j += 32) {
                float* to = c + i * ldc + j;
                if (add) {
                    _tile_loadd(0, to, cs);
                    _tile_loadd(1, to + 16, cs);
                    _tile_loadd(2, to + 16 * ldc, cs);
                    _tile_loadd(3, to + 16 * ldc + 16, cs);
                } else {
                    _tile_zero(0);
                    _tile_zero(1);
                    _tile_zero(2);
                    _tile_zero(3);
                }
                const bfloat16 *left = a + i * lda, *right = b + j / 16 * 512;
                for (int64_t p = 0; p < k; p += 32, left += 32, right += step) {
                    _tile_loadd(4, left, as);
                    _tile_loadd(5, left + 16 * lda, as);
                    _tile_loadd(6, right, 64);
                    _tile_loadd(7, right + 512, 64);
                    _tile_dpbf16ps(0, 4, 6);
                    _tile_dpbf16ps(1, 4, 7);
                    _tile_dpbf16ps(2, 5, 6);
                    _tile_dpbf16ps(3, 5, 7);
                }
                _tile_stored(0, to, cs);
                _tile_stored(1, to + 16, cs);
                _tile_stored(2, to + 16 * ldc, cs);
                _tile_stored(3, to + 16 * ldc + 16, cs);
            }
    }
};

#endif

static bool matrix_unit() { return HAVE_MATRIX_UNIT && amx_allowed(); }
