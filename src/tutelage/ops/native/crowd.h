// Attention of several tokens at once on the matrix unit: up to sixteen queries in the rows of its registers.
//
// Tokens of one prompt, and answers to it, look at the same pages at the same places: those are read once for all of
// them. What each has beyond is multiplied by itself. A row is summed page by page either way, in one order, so what a
// token gets does not depend on who came along. (Of one sequence a row takes in later tokens' values times 0: where one
// of those is no number, an earlier row is none either. The last token's, which alone is asked for, sees them anyway.)

#pragma once

#include "pages.h"
#include "tiles.h"

// A token that attends: its queries [heads of one key-value head, size], one after another, and where they go.
template <class E>
struct Looker {
    const float* queries;
    E* out;
    View view;
};

#if defined(TILES_OF_AMX)
static Shapes attention_shapes(int rows) {
    Shapes shapes;
    for (int t = 0; t < 5; ++t) shapes.set(t, rows, TILE);  // four of sums, one of queries
    shapes.set(5, rows, PAGE / 2);  // softmax weights of a page
    shapes.set(6, TILE, TILE);      // keys
    shapes.set(7, PAGE / 2, TILE);  // values
    return shapes;
}

// Pages that all of them see whole or in part, from the first one on: of one sequence, as many as any sees.
static int64_t common_pages(const Looker<bfloat16>* lookers, int count) {
    int64_t first = lookers[0].view.first(), least = lookers[0].view.last(), most = least;
    bool one = true;
    for (int i = 1; i < count; ++i) {
        least = std::min(least, lookers[i].view.last());
        most = std::max(most, lookers[i].view.last());
        one = one && lookers[i].view.pages == lookers[0].view.pages;
    }
    if (one) return most - first + 1;
    for (int64_t page = first; page <= least; ++page)
        for (int i = 1; i < count; ++i)
            if (lookers[i].view.pages[page] != lookers[0].view.pages[page]) return page - first;
    return least - first + 1;
}

// Scores of `pages` pages, unscaled, in neighbouring columns. asked [rows, size], scores [rows, width].
static void score_tiles(const Pages<Half>& cache, int64_t layer, int64_t head, const int32_t* pages, int64_t count,
                        const bfloat16* asked, float* scores, int64_t width) {
    int64_t bytes = cache.size * sizeof(bfloat16), row = width * sizeof(float);
    for (; count > 0; count -= 4, pages += 4, scores += 4 * PAGE) {
        const bfloat16* keys[4];
        for (int p = 0; p < 4; ++p) keys[p] = cache.at(layer, pages[std::min<int64_t>(p, count - 1)], head);
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (int64_t i = 0; i < cache.size; i += 2 * TILE) {
            _tile_loadd(4, asked + i, bytes);
            _tile_loadd(6, keys[0] + i * PAGE, 64);
            _tile_dpbf16ps(0, 4, 6);
            if (count > 1) {
                _tile_loadd(6, keys[1] + i * PAGE, 64);
                _tile_dpbf16ps(1, 4, 6);
            }
            if (count > 2) {
                _tile_loadd(6, keys[2] + i * PAGE, 64);
                _tile_dpbf16ps(2, 4, 6);
            }
            if (count > 3) {
                _tile_loadd(6, keys[3] + i * PAGE, 64);
                _tile_dpbf16ps(3, 4, 6);
            }
        }
        _tile_stored(0, scores, row);
        if (count > 1) _tile_stored(1, scores + PAGE, row);
        if (count > 2) _tile_stored(2, scores + 2 * PAGE, row);
        if (count > 3) _tile_stored(3, scores + 3 * PAGE, row);
    }
}

// Adds the values of `pages` pages, weighed, to mixed [rows, size]. weights: words of [rows, width] numbers.
static void mix_tiles(const Pages<Half>& cache, int64_t layer, int64_t head, const int32_t* pages, int64_t count,
                      const uint32_t* weights, int64_t width, float* mixed) {
    int64_t bytes = width * sizeof(bfloat16), row = cache.size * sizeof(float);
    for (int64_t column = 0; column < cache.size; column += 2 * TILE, mixed += 2 * TILE) {
        _tile_loadd(0, mixed, row);
        _tile_loadd(1, mixed + TILE, row);
        for (int64_t p = 0; p < count; ++p) {
            const bfloat16* values = cache.at(layer, pages[p], head) + PAGE * cache.size + column * 2;
            _tile_loadd(5, weights + p * PAGE / 2, bytes);
            _tile_loadd(7, values, row);
            _tile_dpbf16ps(0, 5, 7);
            _tile_loadd(7, values + 2 * TILE, row);
            _tile_dpbf16ps(1, 5, 7);
        }
        _tile_stored(0, mixed, row);
        _tile_stored(1, mixed + TILE, row);
    }
}

// `each` queries of every looker, together at most sixteen, whose views begin with the same page number.
// Leaves the registers in shapes of its own.
static void attend_together(const Pages<Half>& cache, int64_t layer, int64_t head, const Looker<bfloat16>* lookers,
                            int count, int each, float scale, Desk& desk) {
    int64_t size = cache.size, first = lookers[0].view.first(), common = common_pages(lookers, count), width = 0;
    for (int i = 0; i < count; ++i) width = std::max(width, lookers[i].view.width());
    int rows = count * each;
    desk.scores.resize(rows * width);
    desk.mixed.assign(rows * size, 0.0f);
    desk.words.resize(rows * (size + width) / 2);
    bfloat16* asked = (bfloat16*)desk.words.data();
    uint32_t* weights = desk.words.data() + rows * size / 2;
    for (int r = 0; r < rows; ++r)
        for (int64_t i = 0; i < size; i += LANES)
            Half::narrow(asked + r * size + i, load(lookers[r / each].queries + r % each * size + i));
    auto over_pages = [&](auto some) {
        attention_shapes(rows).use();
        some(lookers[0], 0, 0, common);
        bool shaped = false;
        for (int i = 0; i < count; ++i) {
            int64_t own = lookers[i].view.last() - first + 1 - common;
            if (own <= 0) continue;
            if (!shaped) attention_shapes(each).use();
            shaped = true;
            some(lookers[i], i * each, common, own);
        }
    };
    over_pages([&](const Looker<bfloat16>& looker, int row, int64_t from, int64_t pages) {
        score_tiles(cache, layer, head, looker.view.pages + first + from, pages, asked + row * size,
                    desk.scores.data() + row * width + from * PAGE, width);
    });
    float sums[TILE];
    for (int r = 0; r < rows; ++r) {
        const View& view = lookers[r / each].view;
        uint32_t* words = weights + r * width / 2;
        sums[r] = weigh<Half>(desk.scores.data() + r * width, view, scale, words);
        std::fill(words + view.width() / 2, words + width / 2, 0);
    }
    over_pages([&](const Looker<bfloat16>& looker, int row, int64_t from, int64_t pages) {
        mix_tiles(cache, layer, head, looker.view.pages + first + from, pages,
                  weights + (row * width + from * PAGE) / 2, width, desk.mixed.data() + row * size);
    });
    for (int r = 0; r < rows; ++r)
        for (int64_t i = 0; i < size; i += LANES)
            Half::narrow(lookers[r / each].out + r % each * size + i,
                         load(desk.mixed.data() + r * size + i) * (1.0f / sums[r]));
}
#else
static void attend_together(const Pages<Half>&, int64_t, int64_t, const Looker<bfloat16>*, int, int, float, Desk&) {}
#endif
static void attend_together(const Pages<Single>&, int64_t, int64_t, const Looker<float>*, int, int, float, Desk&) {}

static void use_whole_tiles() {
#if defined(TILES_OF_AMX)
    Shapes::whole().use();
#endif
}

// Takes tokens one after another and has those attend together that may.
template <class P>
struct Crowd {
    typedef typename P::Element E;
    const Pages<P>& cache;
    int64_t layer, head, group;
    float scale;
    bool amx;
    Desk& desk;
    int count = 0;
    Looker<E> lookers[TILE];

    Crowd(const Pages<P>& pages, int64_t number, int64_t which, int64_t queries, float factor, bool tiles, Desk& own)
        : cache(pages), layer(number), head(which), group(queries), scale(factor), amx(tiles), desk(own) {}
    void add(const float* queries, E* out, const View& view) {
        if (!amx || group > TILE || cache.size % (2 * TILE)) {
            ::attend(cache, layer, head, view, queries, group, scale, out, desk);
            return;
        }
        if (count > 0 && ((count + 1) * group > TILE || !lookers[0].view.begins_as(view))) attend();
        lookers[count++] = Looker<E>{queries, out, view};
    }
    void attend() {
        if (count > 0) attend_together(cache, layer, head, lookers, count, (int)group, scale, desk);
        count = 0;
    }
};
