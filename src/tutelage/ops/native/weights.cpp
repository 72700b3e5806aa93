// Gradients of weights: C [M, N] float32 = Aᵀ · B for A [T, M] and B [T, N] of bfloat16, summed in float32, on the
// processor's matrix unit. (Library products sum over the long side at a third of the speed of the other products.)
//
// A runs through in slabs of columns, turned and packed while they are read; B is packed once. Every number of C is
// summed in the order of T by one thread: its bits depend on nothing else.

#include "blocks.h"

#if HAVE_MATRIX_UNIT

static const int64_t SLAB = 256;   // columns of A at a time
static const int64_t DEEP = 2048;  // rows at a time: a slab of that depth is 1 MiB, and stays in the second cache

// Working memory of one thread, kept from call to call: fresh memory would be cleared and mapped at each.
enum Use { FOR_ALL, FOR_ITSELF };
template <Use use>
static bfloat16* room(int64_t count) {
    static thread_local std::vector<bfloat16> memory;
    if ((int64_t)memory.size() < count + 32) memory.resize(count + 32);
    return (bfloat16*)up((int64_t)memory.data(), 64);
}

// 32 rows of `from`, of which `some` are there, as pairs of rows: a tile of 16 pairs × 16 columns, `step` apart, for all
// of `width` columns; zeros beyond
static void pack(const bfloat16* from, int64_t stride, int64_t some, int64_t width, bfloat16* to, int64_t step,
                 bool turned) {
    for (int64_t n = 0; n < up(width, 32); n += 16, to += step) {
        alignas(64) int32_t pairs[256];
        int64_t lanes = std::max<int64_t>(0, std::min<int64_t>(16, width - n));
        __mmask16 mask = (__mmask16)((1u << lanes) - 1);
        for (int64_t i = 0; i < 16; ++i) {
            const bfloat16* at = from + 2 * i * stride + n;
            __m512i low = _mm512_setzero_si512(), high = low;
            if (2 * i < some) low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, at));
            if (2 * i + 1 < some) high = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, at + stride));
            __m512i pair = _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
            _mm512_storeu_si512(turned ? (void*)(pairs + 16 * i) : (void*)(to + 32 * i), pair);
        }
        if (turned) Matrix::transpose16(pairs, 16, (int32_t*)to, 16);
    }
}

// 32 × 32 of C from two columns of packed A tiles and two of B; `tiles` of depth
static void multiply(const bfloat16* a, const bfloat16* b, int64_t tiles, int64_t step, float* c, int64_t stride,
                     bool add) {
    if (add) {
        _tile_loadd(0, c, stride * 4);
        _tile_loadd(1, c + 16, stride * 4);
        _tile_loadd(2, c + 16 * stride, stride * 4);
        _tile_loadd(3, c + 16 * stride + 16, stride * 4);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t d = 0; d < tiles; ++d, a += 512, b += 512) {
        _tile_loadd(4, a, 64);
        _tile_loadd(6, b, 64);
        _tile_loadd(7, b + step, 64);
        _tile_loadd(5, a + step, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, c, stride * 4);
    _tile_stored(1, c + 16, stride * 4);
    _tile_stored(2, c + 16 * stride, stride * 4);
    _tile_stored(3, c + 16 * stride + 16, stride * 4);
}

static void product(const bfloat16* a, const bfloat16* b, float* c, int64_t rows, int64_t m, int64_t n, bool add,
                    int threads) {
    int64_t chunks = (rows + DEEP - 1) / DEEP, depth = up((rows + chunks - 1) / chunks, 32);
    int64_t slabs = up((m + SLAB - 1) / SLAB, threads), slab = up((m + slabs - 1) / slabs, 32);
    bfloat16* right = room<FOR_ALL>(up(n, 32) * depth);
#pragma omp parallel num_threads(threads)
    {
        bfloat16* left = room<FOR_ITSELF>(slab * depth);
        alignas(64) float edge[32 * 32];
        Matrix::begin();
        for (int64_t first = 0; first < rows; first += depth) {
            int64_t some = std::min(depth, rows - first), tiles = (some + 31) / 32, step = tiles * 512;
#pragma omp for schedule(static)
            for (int64_t r = 0; r < tiles; ++r)
                pack(b + (first + 32 * r) * n, n, some - 32 * r, n, right + r * 512, step, false);
#pragma omp for schedule(static)
            for (int64_t top = 0; top < m; top += slab) {
                int64_t tall = std::min(slab, m - top);
                for (int64_t r = 0; r < tiles; ++r)
                    pack(a + (first + 32 * r) * m + top, m, some - 32 * r, tall, left + r * 512, step, true);
                for (int64_t j = 0; j < n; j += 32)
                    for (int64_t i = 0; i < tall; i += 32) {
                        float* to = c + (top + i) * n + j;
                        int64_t high = std::min<int64_t>(32, tall - i), broad = std::min<int64_t>(32, n - j);
                        bool whole = high == 32 && broad == 32, more = add || first;
                        multiply(left + i / 16 * step, right + j / 16 * step, tiles, step, whole ? to : edge,
                                 whole ? n : 32, whole && more);
                        if (whole) continue;
                        for (int64_t y = 0; y < high; ++y)
                            for (int64_t x = 0; x < broad; ++x)
                                to[y * n + x] = (more ? to[y * n + x] : 0.0f) + edge[y * 32 + x];
                    }
            }
        }
        Matrix::end();
    }
}

#endif

extern "C" {

int weights_usable() { return matrix_unit(); }

// a [rows, m], b [rows, n] → c [m, n] = aᵀ·b, or c += it
void weights_product(const void* a, const void* b, float* c, int64_t rows, int64_t m, int64_t n, int add,
                     int threads) {
#if HAVE_MATRIX_UNIT
    if (rows == 0 && !add) std::fill(c, c + m * n, 0.0f);
    if (rows == 0 || m == 0 || n == 0) return;
    product((const bfloat16*)a, (const bfloat16*)b, c, rows, m, n, add, threads);
#endif
}
}
