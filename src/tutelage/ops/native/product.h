// Matrix products whose every row is summed in one fixed order: what a row gives does not depend on its neighbours,
// on how many there are, or on the number of threads. (Library products choose their kernel by the batch.)
//
// A weight [columns, depth] is kept in tiles of 16 columns × 16 words, 1 KiB each, in the order they are read:
//   pair of column tiles ─► depth tile ─► which of the pair ─► word of depth ─► column
// which is what AMX multiplies at once, and AVX-512 (or any vector unit) word by word.

#pragma once

#include "lanes.h"
#include "team.h"
#include "tiles.h"

static const int TILE_WORDS = TILE * TILE;
static const int ROWS = 32;
static const int COLUMNS = 32;
static const int64_t STRETCH = 6;  // steps of depth that few rows go at once (measured: 4 to 8 are alike)

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

// Steps of depth [from, to) of a product.
struct Depth {
    int64_t from, to;
};

// Weights come from far memory, each read once: while one panel (two columns of tiles) is multiplied, the next one is
// asked for, a share in each step, so that memory is never idle. Of few rows, which wait for weights, one line of four
// is named: the processor brings its neighbours, and asking for each would leave no room for what the product reads.
struct Ahead {
    static const int LINES = 2 * TILE_WORDS * 4 / 64;  // of 64 bytes, in a step of depth
    const char* from;
    int64_t stride;
    int lines;

    // `turn` of `turns` products of the panel
    Ahead(const void* next, int64_t turn, int64_t turns, int64_t deep)
        : from((const char*)next), stride(turns <= 2 ? 4 * 64 : 64) {
        int64_t all = LINES * 64 / stride;
        lines = (int)((all + turns - 1) / turns);
        from += turn * deep * lines * stride;
        if (turn * lines >= all) lines = 0;
    }
    void ask(int64_t step) const {
        for (int line = 0; line < lines; ++line) __builtin_prefetch(from + (step * lines + line) * stride, 0, 2);
    }
};

#if defined(TILES_OF_AMX)
// Adds to what `out` [32, 32] holds, unless the depth begins here.
static void multiply_tiles(const bfloat16* a, int64_t stride, const bfloat16* b, Depth depth, int rows, Ahead ahead,
                           float* out) {
    const bfloat16* below = a + TILE * stride;
    float* lower = out + TILE * COLUMNS;
    const int row = COLUMNS * 4;
    bool begun = depth.from > 0, tall = rows > TILE;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    if (begun) {
        _tile_loadd(0, out, row);
        _tile_loadd(1, out + TILE, row);
    }
    if (begun && tall) {
        _tile_loadd(2, lower, row);
        _tile_loadd(3, lower + TILE, row);
    }
    if (!tall) {
        for (int64_t d = depth.from; d < depth.to; ++d) {
            _tile_loadd(4, a + d * 32, stride * 2);
            _tile_loadd(6, b + d * 1024, 64);
            _tile_loadd(7, b + d * 1024 + 512, 64);
            ahead.ask(d);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
        }
    } else {
        for (int64_t d = depth.from; d < depth.to; ++d) {
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
        _tile_stored(2, lower, row);
        _tile_stored(3, lower + TILE, row);
    }
    _tile_stored(0, out, row);
    _tile_stored(1, out + TILE, row);
}
#else
static void multiply_tiles(const bfloat16*, int64_t, const bfloat16*, Depth, int, Ahead, float*) {}
#endif

// By vectors the whole depth is summed at once.
static inline void multiply_any(const float* a, int64_t stride, const float* b, Depth depth, int rows, Ahead,
                                float* out, bool) {
    multiply_block<Single>(a, stride, b, depth.to, rows, out);
}

static inline void multiply_any(const bfloat16* a, int64_t stride, const bfloat16* b, Depth depth, int rows,
                                Ahead ahead, float* out, bool amx) {
    if (amx)
        multiply_tiles(a, stride, b, depth, rows, ahead, out);
    else
        multiply_block<Half>(a, stride, b, depth.to, rows, out);
}

// a [rows, depth] times a weight; `finish(row, column, value)` gets 16 columns at a time, bias added.
// Each thread of a team makes its own columns, and does not wait for the others. `a` has room for rows up to a
// multiple of 32.
// Few rows go down the depth side by side, some steps each, so that those below find the weights at hand. (A single
// block gains as much by it, a tenth to a fifth; why has not been found out.)
template <class P, class Finish>
static void multiply(const Team& team, const Matrix& weight, const typename P::Element* a, int64_t stride,
                     int64_t rows, bool amx, Finish finish) {
    int64_t deep = depth_tiles<P>(weight.depth), wide = (weight.columns + COLUMNS - 1) / COLUMNS;
    int64_t turns = (rows + ROWS - 1) / ROWS, panel = deep * 2 * TILE_WORDS * P::PER_WORD;
    int64_t beside = turns <= 2 ? 2 * ROWS : ROWS, steps = amx && turns <= 2 ? STRETCH : deep;
    alignas(64) float out[2 * ROWS * COLUMNS];
    for (int64_t n = team.from(wide); n < team.to(wide); ++n) {
        const typename P::Element* b = (const typename P::Element*)weight.tiles + n * panel;
        for (int64_t m = 0; m < rows; m += beside) {
            int count = (int)std::min<int64_t>(beside, rows - m);
            for (int64_t d = 0; d < deep; d += steps)
                for (int r = 0; r < count; r += ROWS)
                    multiply_any(a + (m + r) * stride, stride, b, Depth{d, std::min(d + steps, deep)},
                                 std::min(ROWS, count - r), Ahead(b + panel, (m + r) / ROWS, turns, deep),
                                 out + r * COLUMNS, amx);
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
