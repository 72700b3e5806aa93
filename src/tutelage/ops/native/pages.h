// Keys and values of many sequences in pages of 16 tokens, and the attention of one token over its own pages.
//
// A page holds, per layer and key-value head, 16 keys and then 16 values, so laid that both products run along lanes:
//   keys:   word of the head's numbers ─► token          values: word of tokens ─► number of the head
// Answers to one prompt name the same pages for it. Of what a sequence did not write, values are 0 (`write`), and keys
// whatever the page held: their scores are not looked at (`weigh`).

#pragma once

#include <vector>

#include "lanes.h"

static const int PAGE = 16;

template <class P>
struct Pages {
    typedef typename P::Element E;
    E* memory;
    int64_t count, heads, size;

    // keys of a page; its values follow PAGE·size later
    E* at(int64_t layer, int64_t page, int64_t head) const {
        return memory + ((layer * count + page) * heads + head) * 2 * PAGE * size;
    }

    // `last`: no later token of this pass goes to the page, whose first one does. Values not written yet are 0 from
    // then on, so that products may run over whole pages.
    void write(E* page, int64_t place, const float* key, const float* value, bool last) const {
        const int per = P::PER_WORD;
        E* keys = page;
        E* values = page + PAGE * size;
        E small[LANES];
        if (last) clear(values, (place + per - 1) / per);
        for (int64_t i = 0; i < size; i += LANES) {
            P::narrow(small, load(key + i));
            for (int j = 0; j < LANES; j += per)
                std::memcpy(keys + (i + j) * PAGE + place * per, small + j, sizeof(E) * per);
            P::narrow(small, load(value + i));
            for (int j = 0; j < LANES; ++j)
                values[(place / per) * size * per + (i + j) * per + place % per] = small[j];
        }
    }

    // Words of tokens from the one numbered `first` on
    void clear(E* values, int64_t first) const {
        std::memset((void*)(values + first * size * P::PER_WORD), 0, (PAGE - first * P::PER_WORD) * size * sizeof(E));
    }
};

// One token's view: which pages, and which tokens [from, to) of its sequence it looks at.
struct View {
    const int32_t* pages;
    int64_t from, to;
    int64_t first() const { return from / PAGE; }
    int64_t last() const { return (to - 1) / PAGE; }
    int64_t width() const { return (last() - first() + 1) * PAGE; }
    bool begins_as(const View& other) const {
        return first() == other.first() && pages[first()] == other.pages[first()];
    }
};

// What one thread needs while it attends.
struct Desk {
    std::vector<float> scores, mixed;
    std::vector<uint32_t> words;
};

template <class P, int QUERIES, int PAGES>
static void score_pages(const uint32_t* queries, int64_t words, const typename P::Element* const* keys, float* scores,
                        int64_t width) {
    Lanes sums[PAGES][QUERIES] = {};
    for (int64_t w = 0; w < words; ++w)
        for (int p = 0; p < PAGES; ++p)
            for (int q = 0; q < QUERIES; ++q)
                sums[p][q] = P::multiply_add(sums[p][q], queries[q * words + w], keys[p] + w * PAGE * P::PER_WORD);
    for (int p = 0; p < PAGES; ++p)
        for (int q = 0; q < QUERIES; ++q) store(scores + q * width + p * PAGE, sums[p][q]);
}

template <class P, int QUERIES, int WIDE>
static void mix_values(const Pages<P>& cache, int64_t layer, int64_t head, const View& view, const uint32_t* weights,
                       int64_t words, int64_t column, const float* sums, typename P::Element* out) {
    const int per_page = PAGE / P::PER_WORD;
    int64_t used = (view.to - view.first() * PAGE + P::PER_WORD - 1) / P::PER_WORD;
    Lanes mixed[QUERIES][WIDE] = {};
    for (int64_t start = 0; start < used; start += per_page) {
        const typename P::Element* values =
            cache.at(layer, view.pages[view.first() + start / per_page], head) + PAGE * cache.size;
        int64_t end = std::min<int64_t>(per_page, used - start);
        for (int64_t w = 0; w < end; ++w)
            for (int d = 0; d < WIDE; ++d)
                for (int q = 0; q < QUERIES; ++q)
                    mixed[q][d] = P::multiply_add(mixed[q][d], weights[q * words + start + w],
                                                  values + (w * cache.size + column + d * LANES) * P::PER_WORD);
    }
    for (int q = 0; q < QUERIES; ++q)
        for (int d = 0; d < WIDE; ++d)
            P::narrow(out + q * cache.size + column + d * LANES, mixed[q][d] * (1.0f / sums[q]));
}

// Softmax numerators of the scores in view, times `scale`, as words; returns their sum.
template <class P>
static float weigh(float* scores, const View& view, float scale, uint32_t* words) {
    int64_t width = view.width(), shift = view.first() * PAGE;
    for (int64_t i = 0; i < view.from - shift; ++i) scores[i] = -INFINITY;
    for (int64_t i = view.to - shift; i < width; ++i) scores[i] = -INFINITY;
    Lanes tops = load(scores);
    for (int64_t i = LANES; i < width; i += LANES) tops = larger(tops, load(scores + i));
    float top = largest(tops);
    Lanes sums = {};
    for (int64_t i = 0; i < width; i += LANES) {
        Lanes weight = exponential((load(scores + i) - top) * scale);
        sums += weight;
        P::narrow((typename P::Element*)words + i, weight);
    }
    return total(sums);
}

// `queries` [QUERIES, size] share the key-value head; out [QUERIES, size].
template <class P, int QUERIES>
static void attend_some(const Pages<P>& cache, int64_t layer, int64_t head, const View& view, const float* queries,
                        float scale, typename P::Element* out, Desk& desk) {
    int64_t width = view.width(), words = cache.size / P::PER_WORD;
    desk.scores.resize(QUERIES * width);
    desk.words.resize(QUERIES * (words + width));
    uint32_t* asked = desk.words.data();
    uint32_t* weights = asked + QUERIES * words;
    for (int64_t i = 0; i < QUERIES * cache.size; i += LANES)
        P::narrow((typename P::Element*)asked + i, load(queries + i));
    const int GROUP = 4;
    const typename P::Element* keys[GROUP];
    int64_t page = view.first();
    for (; page + GROUP - 1 <= view.last(); page += GROUP) {
        for (int p = 0; p < GROUP; ++p) keys[p] = cache.at(layer, view.pages[page + p], head);
        score_pages<P, QUERIES, GROUP>(asked, words, keys, desk.scores.data() + (page - view.first()) * PAGE, width);
    }
    for (; page <= view.last(); ++page) {
        keys[0] = cache.at(layer, view.pages[page], head);
        score_pages<P, QUERIES, 1>(asked, words, keys, desk.scores.data() + (page - view.first()) * PAGE, width);
    }
    float sums[QUERIES];
    int64_t per_query = width / P::PER_WORD;
    for (int q = 0; q < QUERIES; ++q)
        sums[q] = weigh<P>(desk.scores.data() + q * width, view, scale, weights + q * per_query);
    int64_t column = 0;
    for (; column + 4 * LANES <= cache.size; column += 4 * LANES)
        mix_values<P, QUERIES, 4>(cache, layer, head, view, weights, per_query, column, sums, out);
    for (; column < cache.size; column += LANES)
        mix_values<P, QUERIES, 1>(cache, layer, head, view, weights, per_query, column, sums, out);
}

// All query heads of one key-value head, at most four at a time.
template <class P>
static void attend(const Pages<P>& cache, int64_t layer, int64_t head, const View& view, const float* queries,
                   int64_t group, float scale, typename P::Element* out, Desk& desk) {
    for (int64_t q = 0; q < group;) {
        int64_t left = group - q, some = left >= 4 ? 4 : left;
        const float* from = queries + q * cache.size;
        typename P::Element* to = out + q * cache.size;
        if (some == 4) attend_some<P, 4>(cache, layer, head, view, from, scale, to, desk);
        if (some == 3) attend_some<P, 3>(cache, layer, head, view, from, scale, to, desk);
        if (some == 2) attend_some<P, 2>(cache, layer, head, view, from, scale, to, desk);
        if (some == 1) attend_some<P, 1>(cache, layer, head, view, from, scale, to, desk);
        q += some;
    }
}
