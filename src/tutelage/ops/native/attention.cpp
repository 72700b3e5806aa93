// Causal attention over packed tokens (Vaswani et al. 2017; recomputed in the backward pass as in Dao et al. 2022,
// 2205.14135), for sequences of any length side by side and for trees: segments that share the prompt before them.
//
// tokens   [t0 … prompt … | answer 1 … | answer 2 …]   each segment sees its prefix whole and itself causally
// One work item = one tree × one key-value head: all its query heads, nothing repeated; sums of a shared prefix are
// taken in the segments' order. So the result depends neither on threads nor on what else is in the row.

#include "blocks.h"
#include "lanes.h"

struct Layout {
    // of [T, heads, depth]: elements from one token to the next, and from one head to the next
    int64_t token, head;
};

struct Job {
    const int64_t *trees;     // [trees + 1]: segments of tree i are trees[i] … trees[i + 1] − 1
    const int64_t *start;     // [segments]: first token
    const int64_t *length;    // [segments]
    const int64_t *prefix;    // [segments]: first token of the prefix
    const int64_t *before;    // [segments]: length of the prefix, 0 for none
    int64_t count;            // trees
    int64_t heads, shared, depth;  // query heads, key-value heads, numbers per head
    int64_t window;           // how many tokens back a query sees, itself included; a huge number = all
    float scale;
};

static const int64_t Q = 32;  // queries at a time

template <class Math>
struct Scratch {
    typedef typename Math::Element E;
    std::vector<E> keys, values, turned, block, block2, packed, packed2, packed3, weights, slopes;
    std::vector<float> scores, pulls, out, turned_out, d_keys, d_values;
    template <typename X>
    static X* room(std::vector<X>& store, int64_t size) {
        if ((int64_t)store.size() < size + 32) store.resize(size + 32);
        return store.data();
    }
};

template <class Math>
static Scratch<Math>& scratch() {
    static thread_local Scratch<Math> own;
    return own;
}

// rows [rows, width] of E, zeros beyond [count, depth]
template <typename E, typename T>
static void gather(E* to, const T* from, int64_t stride, int64_t count, int64_t depth, int64_t rows, int64_t width) {
    int64_t whole = depth / LANES * LANES;
    for (int64_t r = 0; r < std::min(count, rows); ++r) {
        const T* row = from + r * stride;
        E* filled = to + r * width;
        for (int64_t c = 0; c < whole; c += LANES) put(filled + c, take(row + c));
        convert(filled + whole, row + whole, depth - whole);
        std::memset(filled + depth, 0, (width - depth) * sizeof(E));
    }
    if (count < rows) std::memset(to + count * width, 0, (rows - count) * width * sizeof(E));
}

// prefix and own tokens of a segment, one after the other
template <typename E, typename T>
static void gather_path(E* to, const T* from, int64_t stride, const Job& job, int64_t s, int64_t rows, int64_t width) {
    int64_t before = job.before[s], own = job.length[s];
    gather(to, from + job.prefix[s] * stride, stride, before, job.depth, before, width);
    gather(to + before * width, from + job.start[s] * stride, stride, own, job.depth, rows - before, width);
}

// to [span] = e^(row·scale − top) from `first` to `last`, else 0; top is the largest row·scale there, mass their sum.
// Nothing to see (last = 0) leaves the mass at 1. span in steps of 32.
template <typename E>
static void softmax_row(float* row, E* to, int64_t first, int64_t last, int64_t span, float scale, float* top,
                        float* mass) {
    int64_t end = std::min(span, up(last, LANES));
    Lanes tops = spread(-INFINITY), sums = {};
    for (int64_t j = 0; j < end; j += LANES) {
        Whole at = STEPS + (int32_t)j;
        Whole seen = (at >= (int32_t)first) & (at < (int32_t)last);
        Lanes value = seen ? load(row + j) * scale : spread(-INFINITY);
        store(row + j, value);
        tops = larger(tops, value);
    }
    *top = last > 0 ? largest(tops) : 0.0f;
    for (int64_t j = 0; j < end; j += LANES) {
        Lanes weight = exponential(load(row + j) - *top);
        put(to + j, weight);
        sums += weight;
    }
    for (int64_t j = end; j < span; j += LANES) put(to + j, Lanes{});
    *mass = last > 0 ? total(sums) : 1.0f;
}

template <class Math, typename T>
static void forward_item(const Job& job, int64_t tree, int64_t head, const T* q, Layout lq, const T* k, Layout lk,
                         const T* v, Layout lv, T* out, Layout lo, float* total) {
    typedef typename Math::Element E;
    Scratch<Math>& own = scratch<Math>();
    int64_t group = job.heads / job.shared, width = up(job.depth, 32);
    for (int64_t s = job.trees[tree]; s < job.trees[tree + 1]; ++s) {
        int64_t before = job.before[s], length = job.length[s], rows = up(before + length, 32);
        E* path = own.room(own.block2, rows * width);
        E* keys = own.room(own.keys, rows * width);
        E* values = own.room(own.values, rows * width);
        E* block = own.room(own.block, Q * width);
        float* scores = own.room(own.scores, Q * rows);
        E* weights = own.room(own.weights, Q * rows);
        float* sums = own.room(own.out, Q * width);
        gather_path(path, k + head * lk.head, lk.token, job, s, rows, width);
        Math::pack_transposed(keys, path, rows, width);
        gather_path(path, v + head * lv.head, lv.token, job, s, rows, width);
        Math::pack(values, path, rows, width);
        for (int64_t member = head * group; member < (head + 1) * group; ++member)
            for (int64_t q0 = 0; q0 < length; q0 += Q) {
                int64_t count = std::min(Q, length - q0), place = before + q0;  // of the first query on the path
                int64_t low = std::max<int64_t>(0, place - job.window + 1) / 32 * 32;
                int64_t high = up(place + count, 32), span = high - low;
                int64_t token = job.start[s] + q0;
                gather(block, q + token * lq.token + member * lq.head, lq.token, count, job.depth, Q, width);
                Math::multiply(block, width, Math::at(keys, rows, 0, low), rows, scores, span, Q, span, width, false);
                float tops[Q], masses[Q], norms[Q];
                for (int64_t i = 0; i < Q; ++i) {
                    int64_t last = i < count ? place + i + 1 - low : 0;
                    int64_t first = std::max<int64_t>(0, place + i - job.window + 1 - low);
                    softmax_row(scores + i * span, weights + i * span, first, last, span, job.scale, tops + i,
                                masses + i);
                }
                for (int64_t i = 0; i < Q; i += LANES)
                    store(norms + i, load(tops + i) + logarithm(load(masses + i)));
                for (int64_t i = 0; i < count; ++i) total[(token + i) * job.heads + member] = norms[i];
                Math::multiply(weights, span, Math::at(values, width, low, 0), width, sums, width, Q, width, span,
                               false);
                for (int64_t i = 0; i < count; ++i) {
                    T* to = out + (token + i) * lo.token + member * lo.head;
                    float share = 1.0f / masses[i];
                    for (int64_t d = 0; d < width; d += LANES)
                        store(sums + i * width + d, load(sums + i * width + d) * share);
                    convert(to, sums + i * width, job.depth);
                }
            }
    }
}

// d_q as out; d_k and d_v [T, shared, depth], written whole for the tree's tokens
template <class Math, typename T>
static void backward_item(const Job& job, int64_t tree, int64_t head, const T* q, Layout lq, const T* k, Layout lk,
                          const T* v, Layout lv, const T* out, const T* back, Layout lo, const float* total, T* d_q,
                          Layout ldq, T* d_k, T* d_v, Layout ldk) {
    typedef typename Math::Element E;
    Scratch<Math>& own = scratch<Math>();
    int64_t group = job.heads / job.shared, width = up(job.depth, 32);
    int64_t first_token = job.start[job.trees[tree]], end_token = first_token;
    for (int64_t s = job.trees[tree]; s < job.trees[tree + 1]; ++s)
        end_token = std::max(end_token, job.start[s] + job.length[s]);
    int64_t tokens = end_token - first_token;
    // one row per token of the tree: a shared prefix gathers what all its segments send back
    std::vector<float> whole_keys(tokens * width, 0.0f), whole_values(tokens * width, 0.0f);
    for (int64_t s = job.trees[tree]; s < job.trees[tree + 1]; ++s) {
        int64_t before = job.before[s], length = job.length[s], rows = up(before + length, 32);
        E* keys = own.room(own.keys, rows * width);
        E* values = own.room(own.values, rows * width);
        E* turned = own.room(own.turned, rows * width);
        float* d_keys = own.room(own.d_keys, rows * width);
        float* d_values = own.room(own.d_values, rows * width);
        float* scores = own.room(own.scores, Q * rows);
        float* pulls = own.room(own.pulls, Q * rows);
        E* weights = own.room(own.weights, Q * rows);
        E* slopes = own.room(own.slopes, Q * rows);
        E* pairs = own.room(own.block2, Q * rows);
        E *block = own.room(own.block, Q * width), *right = own.room(own.packed, Q * width);
        E *right_q = own.room(own.packed2, Q * width), *right_o = own.room(own.packed3, Q * width);
        float *sums = own.room(own.out, Q * width), *rows_of = own.room(own.turned_out, Q * width);
        std::fill(d_keys, d_keys + rows * width, 0.0f);
        std::fill(d_values, d_values + rows * width, 0.0f);
        gather_path(keys, k + head * lk.head, lk.token, job, s, rows, width);
        gather_path(values, v + head * lv.head, lv.token, job, s, rows, width);
        Math::transpose(turned, keys, rows, width);
        for (int64_t member = head * group; member < (head + 1) * group; ++member)
            for (int64_t q0 = 0; q0 < length; q0 += Q) {
                int64_t count = std::min(Q, length - q0), place = before + q0;
                int64_t low = std::max<int64_t>(0, place - job.window + 1) / 32 * 32;
                int64_t high = up(place + count, 32), span = high - low;
                int64_t token = job.start[s] + q0;
                const T* from = back + token * lo.token + member * lo.head;
                const T* said = out + token * lo.token + member * lo.head;
                float delta[Q], norm[Q];
                for (int64_t i = 0; i < Q; ++i) {
                    float sum = 0;
#pragma omp simd reduction(+ : sum)
                    for (int64_t d = 0; d < (i < count ? job.depth : 0); ++d)
                        sum += number(from[i * lo.token + d]) * number(said[i * lo.token + d]);
                    delta[i] = sum;
                    norm[i] = i < count ? total[(token + i) * job.heads + member] : INFINITY;
                }
                gather(block, q + token * lq.token + member * lq.head, lq.token, count, job.depth, Q, width);
                Math::pack_transposed(right, block, Q, width);
                Math::pack(right_q, block, Q, width);
                Math::multiply(keys + low * width, width, right, Q, scores, Q, span, Q, width, false);
                gather(block, from, lo.token, count, job.depth, Q, width);
                Math::pack_transposed(right, block, Q, width);
                Math::pack(right_o, block, Q, width);
                Math::multiply(values + low * width, width, right, Q, pulls, Q, span, Q, width, false);
                for (int64_t j = 0; j < span; ++j) {
                    // query i stands at place + i and sees this key if 0 ≤ place + i − (low + j) < window
                    int32_t nearest = (int32_t)std::max<int64_t>(low + j - place, 0);
                    int32_t farthest = (int32_t)std::min<int64_t>(low + j - place + job.window, count);
                    for (int64_t i = 0; i < Q; i += LANES) {
                        Whole at = STEPS + (int32_t)i;
                        Lanes weight = exponential(load(scores + j * Q + i) * job.scale - load(norm + i));
                        weight = (at >= nearest) & (at < farthest) ? weight : Lanes{};
                        put(weights + j * Q + i, weight);
                        put(slopes + j * Q + i, weight * (load(pulls + j * Q + i) - load(delta + i)) * job.scale);
                    }
                }
                Math::multiply(weights, Q, right_o, width, d_values + low * width, width, span, width, Q, true);
                Math::multiply(slopes, Q, right_q, width, d_keys + low * width, width, span, width, Q, true);
                Math::pack(pairs, slopes, span, Q);
                Math::multiply(turned + low, rows, pairs, Q, sums, Q, width, Q, span, false);
                Math::turn(rows_of, sums, width, Q);
                for (int64_t i = 0; i < count; ++i)
                    convert(d_q + (token + i) * ldq.token + member * ldq.head, rows_of + i * width, job.depth);
            }
        for (int64_t r = 0; r < before + length; ++r) {
            int64_t token = r < before ? job.prefix[s] + r : job.start[s] + r - before;
            float *key = &whole_keys[(token - first_token) * width], *value = &whole_values[(token - first_token) * width];
            for (int64_t c = 0; c < width; ++c) key[c] += d_keys[r * width + c], value[c] += d_values[r * width + c];
        }
    }
    for (int64_t r = 0; r < tokens; ++r) {
        T* key = d_k + (first_token + r) * ldk.token + head * ldk.head;
        T* value = d_v + (first_token + r) * ldk.token + head * ldk.head;
        for (int64_t c = 0; c < job.depth; ++c)
            key[c] = as<T>(whole_keys[r * width + c]), value[c] = as<T>(whole_values[r * width + c]);
    }
}

template <class Math, typename T>
static void forward(const Job& job, const void* q, Layout lq, const void* k, Layout lk, const void* v, Layout lv,
                    void* out, Layout lo, float* total, int threads) {
    int64_t items = job.count * job.shared;
#pragma omp parallel num_threads(threads)
    {
        Math::begin();
#pragma omp for schedule(dynamic)
        for (int64_t item = 0; item < items; ++item)
            forward_item<Math, T>(job, item / job.shared, item % job.shared, (const T*)q, lq, (const T*)k, lk,
                                  (const T*)v, lv, (T*)out, lo, total);
        Math::end();
    }
}

template <class Math, typename T>
static void backward(const Job& job, const void* q, Layout lq, const void* k, Layout lk, const void* v, Layout lv,
                     const void* out, const void* back, Layout lo, const float* total, void* d_q, Layout ldq,
                     void* d_k, void* d_v, Layout ldk, int threads) {
    int64_t items = job.count * job.shared;
#pragma omp parallel num_threads(threads)
    {
        Math::begin();
#pragma omp for schedule(dynamic)
        for (int64_t item = 0; item < items; ++item)
            backward_item<Math, T>(job, item / job.shared, item % job.shared, (const T*)q, lq, (const T*)k, lk,
                                   (const T*)v, lv, (const T*)out, (const T*)back, lo, total, (T*)d_q, ldq, (T*)d_k,
                                   (T*)d_v, ldk);
        Math::end();
    }
}

extern "C" {

// Whether bfloat16 products run on the processor's matrix unit.
int attention_uses_matrix_unit() { return matrix_unit(); }

// q [T, heads, depth] with layout lq, k and v [T, shared, depth] with lk and lv, out with lo; total [T, heads] float32
// is the log of the sum of exponentials, for the backward pass. bf16: whether all of them but total are bfloat16.
void attention_forward(const Job* job, const void* q, Layout lq, const void* k, Layout lk, const void* v, Layout lv,
                       void* out, Layout lo, float* total, int bf16, int threads) {
#if HAVE_MATRIX_UNIT
    if (bf16 && matrix_unit()) return forward<Matrix, bfloat16>(*job, q, lq, k, lk, v, lv, out, lo, total, threads);
#endif
    if (bf16) return forward<Vector, bfloat16>(*job, q, lq, k, lk, v, lv, out, lo, total, threads);
    forward<Vector, float>(*job, q, lq, k, lk, v, lv, out, lo, total, threads);
}

// out and back share the layout lo; d_q has ldq, d_k and d_v have ldk
void attention_backward(const Job* job, const void* q, Layout lq, const void* k, Layout lk, const void* v, Layout lv,
                        const void* out, const void* back, Layout lo, const float* total, void* d_q, Layout ldq,
                        void* d_k, void* d_v, Layout ldk, int bf16, int threads) {
#if HAVE_MATRIX_UNIT
    if (bf16 && matrix_unit())
        return backward<Matrix, bfloat16>(*job, q, lq, k, lk, v, lv, out, back, lo, total, d_q, ldq, d_k, d_v, ldk,
                                          threads);
#endif
    if (bf16)
        return backward<Vector, bfloat16>(*job, q, lq, k, lk, v, lv, out, back, lo, total, d_q, ldq, d_k, d_v, ldk,
                                          threads);
    backward<Vector, float>(*job, q, lq, k, lk, v, lv, out, back, lo, total, d_q, ldq, d_k, d_v, ldk, threads);
}
}
