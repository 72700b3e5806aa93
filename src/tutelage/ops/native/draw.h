// The drawing of one token from a row of logits: inverse transform over the whole vocabulary.

#pragma once

#include <vector>

#include "lanes.h"

static const int64_t BLOCK = 512;

// Σ exp((logit − top)·sharpness) of one block of a row, in one order whatever is drawn.
static float mass(const float* logit, int64_t count, float top, float sharpness) {
    Lanes sums = {};
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) sums += exponential((load(logit + i) - top) * sharpness);
    if (i < count) {
        float rest[LANES];
        for (int j = 0; j < LANES; ++j) rest[j] = i + j < count ? logit[i + j] : -INFINITY;
        sums += exponential((load(rest) - top) * sharpness);
    }
    return total(sums);
}

// The first token at which the running sum exceeds noise · whole; never one whose probability is 0 in float.
static void draw_row(const float* logit, int64_t count, float sharpness, float noise, bool greedy, int32_t* token,
                     float* logprob) {
    Lanes tops = spread(logit[0]);
    int64_t seen = 0;
    for (; seen + LANES <= count; seen += LANES) tops = larger(tops, load(logit + seen));
    float top = largest(tops);
    for (; seen < count; ++seen) top = logit[seen] > top ? logit[seen] : top;
    int64_t blocks = (count + BLOCK - 1) / BLOCK;
    std::vector<float> masses(blocks);
    double whole = 0;
    for (int64_t b = 0; b < blocks; ++b)
        whole += masses[b] = mass(logit + b * BLOCK, std::min(BLOCK, count - b * BLOCK), top, sharpness);
    int64_t found = -1;
    if (greedy) {
        for (found = 0; logit[found] != top && found + 1 < count;) ++found;
    } else {
        double target = noise * whole, sum = 0;
        int64_t b = 0;
        while (b + 1 < blocks && sum + masses[b] <= target) sum += masses[b++];
        for (; b < blocks && found < 0; ++b)
            for (int64_t i = b * BLOCK; i < std::min((b + 1) * BLOCK, count); i += LANES) {
                float some[LANES];
                for (int j = 0; j < LANES; ++j) some[j] = i + j < count ? logit[i + j] : -INFINITY;
                Lanes weights = exponential((load(some) - top) * sharpness);
                int j = 0;
                while (j < LANES && sum + weights[j] <= target) sum += weights[j++];
                if (j == LANES) continue;
                found = i + j;
                break;
            }
        if (found < 0)  // rounding led past the end: the last token that can be drawn
            for (found = count - 1; found > 0 && (logit[found] - top) * sharpness < -87.0f;) --found;
    }
    *token = (int32_t)found;
    *logprob = (logit[found] - top) * sharpness - (float)std::log(whole);
}
