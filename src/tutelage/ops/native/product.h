// Matrix products whose every row is summed in one fixed order: what a row gives does not depend on its neighbours,
// on how many there are, or on the number of threads. (Library products choose their kernel by the batch.)
//
// A weight [columns, depth] is kept in tiles of 16 columns × 16 words, 1 KiB each, in the order they are read:
//   pair of column tiles ─► depth tile ─► which of the pair ─► word of depth ─► column
// which is what AMX multiplies at once, and AVX-512 (or any vector unit) word by word.

#pragma once

#include "lanes.h"
#include "team.h"

#if defined(__AMX_BF16__) && defined(__AMX_TILE__) && defined(__linux__)
#define TILES_OF_AMX 1
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

static const int TILE = 16;
static const int TILE_WORDS = TILE * TILE;
static const int ROWS = 32;
static const int COLUMNS = 32;

struct Matrix {
    const void* tiles;
    const float* bias;
    int64_t columns;
    int64_t depth;
};

template <class P>
static int64_t depth_tiles(int64_t depth) {
    return (depth + TILE * P::PER_WORD - 1) / (TILE * P::PER_WORD);
}

// Elements from one row of an operand to the next: an odd number of cache lines, so that rows do not share few sets.
template <class P>
static int64_t row_stride(int64_t width) {
    const int64_t line = 64 / sizeof(typename P::Element);
    return (((width + 31) / 32 * 32 / line) | 1) * line;
}

static inline int64_t tile_place(int64_t column_tile, int64_t depth_tile, int64_t depth_tiles) {
    return ((column_tile / 2) * depth_tiles + depth_tile) * 2 + column_tile % 2;
}

// Column n of `from` (at from[n·by_column + k·by_depth]) goes to tile first + (n / 16)·step.
template <class P>
static void lay_tiles(const float* from, int64_t by_column, int64_t by_depth, int64_t columns, int64_t depth,
                      int64_t first, int64_t step, typename P::Element* tiles, int threads) {
    typedef typename P::Element E;
    const int DEEP = TILE * P::PER_WORD;
    int64_t deep = depth_tiles<P>(depth), wide = (columns + TILE - 1) / TILE;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t j = 0; j < wide; ++j)
        for (int64_t d = 0; d < deep; ++d) {
            E* to = tiles + tile_place(first + j * step, d, deep) * TILE_WORDS * P::PER_WORD;
            for (int64_t c = 0; c < TILE; ++c) {
                int64_t n = j * TILE + c, k = d * DEEP;
                const float* source = from + n * by_column + k * by_depth;
                float row[DEEP];
                if (n < columns && by_depth == 1 && k + DEEP <= depth)
                    std::memcpy(row, source, sizeof row);
                else
                    for (int i = 0; i < DEEP; ++i) row[i] = n < columns && k + i < depth ? source[i * by_depth] : 0.0f;
                E small[DEEP];
                for (int i = 0; i < DEEP; i += LANES) P::narrow(small + i, load(row + i));
                for (int w = 0; w < TILE; ++w)
                    std::memcpy(to + (w * TILE + c) * P::PER_WORD, small + w * P::PER_WORD, 4);
            }
        }
}

template <class P>
static void multiply_block(const typename P::Element* a, int64_t stride, const typename P::Element* b, int64_t deep,
                           int rows, float* out) {
    const int TALL = 8;
    for (int top = 0; top < rows; top += TALL) {
        Lanes sums[TALL][2] = {};
        const typename P::Element* left = a + top * stride;
        const typename P::Element* right = b;
        for (int64_t d = 0; d < deep; ++d, right += 2 * TILE_WORDS * P::PER_WORD)
            for (int w = 0; w < TILE; ++w) {
                const typename P::Element* lanes = right + w * TILE * P::PER_WORD;
#pragma GCC unroll 8
                for (int r = 0; r < TALL; ++r) {
                    uint32_t word = word_of<P>(left + r * stride + (d * TILE + w) * P::PER_WORD);
                    sums[r][0] = P::multiply_add(sums[r][0], word, lanes);
                    sums[r][1] = P::multiply_add(sums[r][1], word, lanes + TILE_WORDS * P::PER_WORD);
                }
            }
        for (int r = 0; r < TALL; ++r) {
            store(out + (top + r) * COLUMNS, sums[r][0]);
            store(out + (top + r) * COLUMNS + TILE, sums[r][1]);
        }
    }
}

// Weights come from far memory, each read once: while one panel (two columns of tiles) is multiplied, the next one is
// asked for, each of the passes over it a share, so that memory is never idle.
struct Ahead {
    static const int LINES = 2 * TILE_WORDS * 4 / 64;  // of 64 bytes in a step of depth
    const char* from;
    int lines;

    Ahead(const void* next, int64_t pass, int64_t passes, int64_t deep)
        : from((const char*)next), lines((int)((LINES + passes - 1) / passes)) {
        from += pass * deep * lines * 64;
        if (pass * lines >= LINES) lines = 0;
    }
    void ask(int64_t step) const {
        for (int line = 0; line < lines; ++line) __builtin_prefetch(from + (step * lines + line) * 64, 0, 2);
    }
};

#if defined(TILES_OF_AMX)
// Whether the kernel lets this process use the tile registers; asked once.
static bool amx_allowed() {
    const int ask = 0x1023, tile_data = 18;
    static const bool allowed = syscall(SYS_arch_prctl, ask, tile_data) == 0;
    return allowed;
}

// The tile registers of one thread while a block of work lasts; what they were set to before is put back.
struct TileSession {
    alignas(64) uint8_t before[64] = {};
    bool open;
    explicit TileSession(bool wanted) : open(wanted) {
        if (!open) return;
        _tile_storeconfig(before);
        seen(before);
        alignas(64) uint8_t settings[64] = {};
        settings[0] = 1;
        for (int t = 0; t < 8; ++t) {
            settings[16 + 2 * t] = 64;  // bytes per row
            settings[48 + t] = TILE;    // rows
        }
        seen(settings);
        _tile_loadconfig(settings);
    }
    // GCC takes these instructions to touch 8 bytes of the 64, and may put off or drop what is written to the others.
    static void seen(void* all) { __asm__ volatile("" : : "r"(all) : "memory"); }
    ~TileSession() {
        if (!open) return;
        if (before[0])
            _tile_loadconfig(before);
        else
            _tile_release();
    }
};

static void multiply_tiles(const bfloat16* a, int64_t stride, const bfloat16* b, int64_t deep, int rows, Ahead ahead,
                           float* out) {
    const bfloat16* below = a + TILE * stride;
    _tile_zero(0);
    _tile_zero(1);
    if (rows <= TILE) {
        for (int64_t d = 0; d < deep; ++d) {
            _tile_loadd(4, a + d * 32, stride * 2);
            _tile_loadd(6, b + d * 1024, 64);
            _tile_loadd(7, b + d * 1024 + 512, 64);
            ahead.ask(d);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
        }
    } else {
        _tile_zero(2);
        _tile_zero(3);
        for (int64_t d = 0; d < deep; ++d) {
            _tile_loadd(4, a + d * 32, stride * 2);
            _tile_loadd(6, b + d * 1024, 64);
            _tile_loadd(7, b + d * 1024 + 512, 64);
            _tile_loadd(5, below + d * 32, stride * 2);
            ahead.ask(d);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        _tile_stored(2, out + TILE * COLUMNS, COLUMNS * 4);
        _tile_stored(3, out + TILE * COLUMNS + TILE, COLUMNS * 4);
    }
    _tile_stored(0, out, COLUMNS * 4);
    _tile_stored(1, out + TILE, COLUMNS * 4);
}
#else
static bool amx_allowed() { return false; }
struct TileSession {
    explicit TileSession(bool) {}
};
static void multiply_tiles(const bfloat16* a, int64_t stride, const bfloat16* b, int64_t deep, int rows, Ahead,
                           float* out) {
    multiply_block<Half>(a, stride, b, deep, rows, out);
}
#endif

static inline void multiply_any(const float* a, int64_t stride, const float* b, int64_t deep, int rows, Ahead,
                                float* out, bool) {
    multiply_block<Single>(a, stride, b, deep, rows, out);
}

static inline void multiply_any(const bfloat16* a, int64_t stride, const bfloat16* b, int64_t deep, int rows,
                                Ahead ahead, float* out, bool amx) {
    if (amx)
        multiply_tiles(a, stride, b, deep, rows, ahead, out);
    else
        multiply_block<Half>(a, stride, b, deep, rows, out);
}

// a [rows, depth] times a weight; `finish(row, column, value)` gets 16 columns at a time, bias added.
// Each thread of a team makes its own columns, and does not wait for the others. `a` has room for rows rounded up to 32.
template <class P, class Finish>
static void multiply(const Team& team, const Matrix& weight, const typename P::Element* a, int64_t stride,
                     int64_t rows, bool amx, Finish finish) {
    int64_t deep = depth_tiles<P>(weight.depth), wide = (weight.columns + COLUMNS - 1) / COLUMNS;
    int64_t passes = (rows + ROWS - 1) / ROWS, panel = deep * 2 * TILE_WORDS * P::PER_WORD;
    alignas(64) float out[ROWS * COLUMNS];
    for (int64_t n = team.from(wide); n < team.to(wide); ++n) {
        const typename P::Element* b = (const typename P::Element*)weight.tiles + n * panel;
        for (int64_t m = 0; m < rows; m += ROWS) {
            int count = (int)std::min<int64_t>(ROWS, rows - m);
            multiply_any(a + m * stride, stride, b, deep, count, Ahead(b + panel, m / ROWS, passes, deep), out, amx);
            if (weight.bias)
                for (int r = 0; r < count; ++r)
                    for (int c = 0; c < COLUMNS; c += TILE)
                        if (n * COLUMNS + c < weight.columns)
                            store(out + r * COLUMNS + c,
                                  load(out + r * COLUMNS + c) + load(weight.bias + n * COLUMNS + c));
            for (int r = 0; r < count; ++r) finish(m + r, n * COLUMNS, out + r * COLUMNS);
        }
    }
}
