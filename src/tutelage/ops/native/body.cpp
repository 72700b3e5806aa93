// What stands between the matrix products of a block, each in one pass over its numbers, with its gradient:
// residual + norm (root mean square, or centred) · norm and rotation of queries and keys · activation, gated or not.
//
// The residual stream is float32, what products read and write T (float or bfloat16); arithmetic is float32. A row is
// one thread's work and summed in one order; sums over rows go by fixed blocks: nothing depends on the threads.

#include "blocks.h"
#include "gates.h"

static const int64_t BLOCK = 64;  // rows whose share of a weight's gradient is summed together

struct Norm {
    int64_t rows, width;
    const float *weight, *bias;  // bias: or null for none
    int32_t centred;             // the mean is taken out first (LayerNorm)
    float eps;
};

// x + more → kept, its scale and mean → marks [2, rows], normed → out (T if `half`, else float)
template <typename T>
static void norm_forward(const Norm& norm, const float* x, const T* more, float* sum_out, void* out, bool half,
                         float* marks, int threads) {
    int64_t width = norm.width;
    const float *weight = norm.weight, *bias = norm.bias;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < norm.rows; ++row) {
        const float* in = x + row * width;
        float* kept = sum_out + row * width;
        if (more) {
            const T* add = more + row * width;
#pragma omp simd
            for (int64_t i = 0; i < width; ++i) kept[i] = in[i] + number(add[i]);
            in = kept;
        }
        float mean = 0, sum = 0;
        if (norm.centred) {
#pragma omp simd reduction(+ : mean)
            for (int64_t i = 0; i < width; ++i) mean += in[i];
            mean /= width;
        }
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < width; ++i) sum += (in[i] - mean) * (in[i] - mean);
        float factor = 1.0f / std::sqrt(sum / width + norm.eps);
        marks[row] = factor;
        marks[norm.rows + row] = mean;
        T* small = (T*)out + row * width;
        float* large = (float*)out + row * width;
        if (half && bias) {
#pragma omp simd
            for (int64_t i = 0; i < width; ++i) small[i] = as<T>((in[i] - mean) * factor * weight[i] + bias[i]);
        } else if (half) {
#pragma omp simd
            for (int64_t i = 0; i < width; ++i) small[i] = as<T>((in[i] - mean) * factor * weight[i]);
        } else if (bias) {
#pragma omp simd
            for (int64_t i = 0; i < width; ++i) large[i] = (in[i] - mean) * factor * weight[i] + bias[i];
        } else {
#pragma omp simd
            for (int64_t i = 0; i < width; ++i) large[i] = (in[i] - mean) * factor * weight[i];
        }
    }
}

// With z = (x − mean)·s: d_x = through (the gradient that passes by on the residual stream, or none)
//                              + s·(g·w − [mean of g·w, if centred] − z·mean of g·w·z)
template <typename T, typename G>
static void norm_backward(const Norm& norm, const float* x, const float* marks, const G* back, const float* through,
                          float* d_x, T* d_half, float* d_weight, float* d_bias, int threads) {
    int64_t rows = norm.rows, width = norm.width, blocks = (rows + BLOCK - 1) / BLOCK;
    const float* weight = norm.weight;
    std::vector<float> partial(blocks * 2 * width, 0.0f);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t block = 0; block < blocks; ++block) {
        float *sums = &partial[block * 2 * width], *biases = sums + width;
        for (int64_t row = block * BLOCK; row < std::min(rows, (block + 1) * BLOCK); ++row) {
            const float *in = x + row * width, *by = through ? through + row * width : nullptr;
            const G* g = back + row * width;
            float *to = d_x + row * width, s = marks[row], mean = marks[rows + row], dot = 0, lift = 0;
#pragma omp simd reduction(+ : dot)
            for (int64_t i = 0; i < width; ++i) {
                float product = number(g[i]) * (in[i] - mean);
                sums[i] += product * s;
                dot += product * weight[i];
            }
            if (norm.centred) {
#pragma omp simd reduction(+ : lift)
                for (int64_t i = 0; i < width; ++i) {
                    biases[i] += number(g[i]);
                    lift += number(g[i]) * weight[i];
                }
                lift *= s / width;
            }
            float pull = dot * s * s * s / width;
            if (by) {
#pragma omp simd
                for (int64_t i = 0; i < width; ++i)
                    to[i] = by[i] + number(g[i]) * weight[i] * s - lift - (in[i] - mean) * pull;
            } else {
#pragma omp simd
                for (int64_t i = 0; i < width; ++i)
                    to[i] = number(g[i]) * weight[i] * s - lift - (in[i] - mean) * pull;
            }
            convert(d_half + row * width, to, width);
        }
    }
    std::fill(d_weight, d_weight + width, 0.0f);
    if (d_bias) std::fill(d_bias, d_bias + width, 0.0f);
    for (int64_t block = 0; block < blocks; ++block)
        for (int64_t i = 0; i < width; ++i) {
            d_weight[i] += partial[block * 2 * width + i];
            if (d_bias) d_bias[i] += partial[(block * 2 + 1) * width + i];
        }
}

struct Turn {
    int64_t rows, heads, shared, depth;  // tokens, query heads, key heads, numbers per head
    const float *cosine, *sine;          // [rows, depth]
    const float *query_norm, *key_norm;  // [depth], or null for none
    float eps;
};

static const int64_t MOST = 32;  // parts of sixteen numbers in one head, at most

// A head as parts of sixteen numbers: its first half, then its second, each with zeros at its end unless it is WHOLE
template <bool WHOLE>
struct Head {
    int64_t depth, half, parts;  // parts: of one half
    explicit Head(int64_t depth) : depth(depth), half(depth / 2), parts((half + LANES - 1) / LANES) {}
    int64_t place(int64_t part) const {
        return WHOLE || part < parts ? part * LANES : half + (part - parts) * LANES;
    }
    int64_t size(int64_t part) const {
        return WHOLE ? LANES : std::min<int64_t>(LANES, half - part % parts * LANES);
    }
    template <typename T>
    Lanes get(const T* from, int64_t part) const {
        return take_some(from + place(part), size(part));
    }
    template <typename T>
    void set(T* to, int64_t part, Lanes value) const {
        put_some(to + place(part), value, size(part));
    }
    // 1/√(mean of squares)
    float scale(const Lanes* value, float eps) const {
        Lanes sum = value[0] * value[0];
        for (int64_t p = 1; p < 2 * parts; ++p) sum += value[p] * value[p];
        return 1.0f / std::sqrt(total(sum) / depth + eps);
    }
};

// raw [rows, heads + 2·shared, depth] → out [rows, heads + shared, depth]: queries and keys, normed and rotated
template <bool WHOLE, typename T>
static void turn_forward(const Turn& turn, const T* raw, T* out, int threads) {
    int64_t depth = turn.depth, all = turn.heads + 2 * turn.shared, kept = turn.heads + turn.shared;
    const Head<WHOLE> head(depth);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < turn.rows; ++row) {
        const float *c = turn.cosine + row * depth, *s = turn.sine + row * depth;
        for (int64_t h = 0; h < kept; ++h) {
            const T* in = raw + (row * all + h) * depth;
            T* to = out + (row * kept + h) * depth;
            const float* weight = h < turn.heads ? turn.query_norm : turn.key_norm;
            Lanes value[MOST];
            for (int64_t p = 0; p < 2 * head.parts; ++p) value[p] = head.get(in, p);
            if (weight) {
                float factor = head.scale(value, turn.eps);
                for (int64_t p = 0; p < 2 * head.parts; ++p) value[p] *= factor * head.get(weight, p);
            }
            for (int64_t p = 0, q = head.parts; p < head.parts; ++p, ++q) {
                head.set(to, p, value[p] * head.get(c, p) - value[q] * head.get(s, p));
                head.set(to, q, value[q] * head.get(c, q) + value[p] * head.get(s, q));
            }
        }
    }
}

// d_raw holds the gradients of rotated queries and keys (and of values, untouched) and gets those of raw
template <bool WHOLE, typename T>
static void turn_backward(const Turn& turn, const T* raw, T* d_raw, float* d_query_norm, float* d_key_norm,
                          int threads) {
    int64_t depth = turn.depth, all = turn.heads + 2 * turn.shared, kept = turn.heads + turn.shared;
    int64_t blocks = (turn.rows + BLOCK - 1) / BLOCK;
    const Head<WHOLE> head(depth);
    std::vector<float> partial(blocks * 2 * depth, 0.0f);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t block = 0; block < blocks; ++block)
        for (int64_t row = block * BLOCK; row < std::min(turn.rows, (block + 1) * BLOCK); ++row) {
            const float *c = turn.cosine + row * depth, *s = turn.sine + row * depth;
            for (int64_t h = 0; h < kept; ++h) {
                const T* in = raw + (row * all + h) * depth;
                T* to = d_raw + (row * all + h) * depth;
                const float* weight = h < turn.heads ? turn.query_norm : turn.key_norm;
                Lanes value[MOST], slope[MOST];
                for (int64_t p = 0, q = head.parts; p < head.parts; ++p, ++q) {
                    Lanes left = head.get(to, p), right = head.get(to, q);
                    slope[p] = left * head.get(c, p) + right * head.get(s, q);
                    slope[q] = right * head.get(c, q) - left * head.get(s, p);
                }
                if (weight) {
                    float* sums = &partial[(2 * block + (h < turn.heads ? 0 : 1)) * depth];
                    for (int64_t p = 0; p < 2 * head.parts; ++p) value[p] = head.get(in, p);
                    float factor = head.scale(value, turn.eps);
                    Lanes dot = {};
                    for (int64_t p = 0; p < 2 * head.parts; ++p) {
                        Lanes product = slope[p] * value[p];
                        head.set(sums, p, head.get(sums, p) + product * factor);
                        dot += product * head.get(weight, p);
                    }
                    float pull = total(dot) * factor * factor * factor / depth;
                    for (int64_t p = 0; p < 2 * head.parts; ++p)
                        slope[p] = slope[p] * head.get(weight, p) * factor - value[p] * pull;
                }
                for (int64_t p = 0; p < 2 * head.parts; ++p) head.set(to, p, slope[p]);
            }
        }
    for (int64_t i = 0; i < depth; ++i) {
        float query = 0, key = 0;
        for (int64_t block = 0; block < blocks; ++block) {
            query += partial[2 * block * depth + i];
            key += partial[(2 * block + 1) * depth + i];
        }
        if (d_query_norm) d_query_norm[i] = query;
        if (d_key_norm) d_key_norm[i] = key;
    }
}

template <typename T>
static void turn_forward(const Turn& turn, const T* raw, T* out, int threads) {
    bool whole = turn.depth % (2 * LANES) == 0;
    (whole ? turn_forward<true, T> : turn_forward<false, T>)(turn, raw, out, threads);
}

template <typename T>
static void turn_backward(const Turn& turn, const T* raw, T* d_raw, float* d_query_norm, float* d_key_norm,
                          int threads) {
    bool whole = turn.depth % (2 * LANES) == 0;
    (whole ? turn_backward<true, T> : turn_backward<false, T>)(turn, raw, d_raw, d_query_norm, d_key_norm, threads);
}

// [rows, width] → [width], the sum of each column, in float32
template <typename T>
static void columns(const T* from, float* to, int64_t rows, int64_t width, int threads) {
    int64_t blocks = (rows + BLOCK - 1) / BLOCK;
    std::vector<float> partial(blocks * width, 0.0f);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t block = 0; block < blocks; ++block) {
        float* sums = &partial[block * width];
        for (int64_t row = block * BLOCK; row < std::min(rows, (block + 1) * BLOCK); ++row) {
            const T* in = from + row * width;
#pragma omp simd
            for (int64_t i = 0; i < width; ++i) sums[i] += number(in[i]);
        }
    }
    std::fill(to, to + width, 0.0f);
    for (int64_t block = 0; block < blocks; ++block)
        for (int64_t i = 0; i < width; ++i) to[i] += partial[block * width + i];
}

extern "C" {

// bf16: whether what products read and write is bfloat16; half: whether `out` is such a thing, or float32
void body_norm_forward(const Norm* norm, const float* x, const void* more, float* sum_out, void* out, float* marks,
                       int half, int bf16, int threads) {
    if (bf16)
        norm_forward(*norm, x, (const bfloat16*)more, sum_out, out, half, marks, threads);
    else
        norm_forward(*norm, x, (const float*)more, sum_out, out, half, marks, threads);
}

void body_norm_backward(const Norm* norm, const float* x, const float* marks, const void* back, const float* through,
                        float* d_x, void* d_half, float* d_weight, float* d_bias, int half, int bf16, int threads) {
    if (!bf16)
        norm_backward(*norm, x, marks, (const float*)back, through, d_x, (float*)d_half, d_weight, d_bias, threads);
    else if (half)
        norm_backward(*norm, x, marks, (const bfloat16*)back, through, d_x, (bfloat16*)d_half, d_weight, d_bias,
                      threads);
    else
        norm_backward(*norm, x, marks, (const float*)back, through, d_x, (bfloat16*)d_half, d_weight, d_bias, threads);
}

void body_turn_forward(const Turn* turn, const void* raw, void* out, int bf16, int threads) {
    if (bf16)
        turn_forward(*turn, (const bfloat16*)raw, (bfloat16*)out, threads);
    else
        turn_forward(*turn, (const float*)raw, (float*)out, threads);
}

void body_turn_backward(const Turn* turn, const void* raw, void* d_raw, float* d_query_norm, float* d_key_norm,
                        int bf16, int threads) {
    if (bf16)
        turn_backward(*turn, (const bfloat16*)raw, (bfloat16*)d_raw, d_query_norm, d_key_norm, threads);
    else
        turn_backward(*turn, (const float*)raw, (float*)d_raw, d_query_norm, d_key_norm, threads);
}

void body_gate_forward(const void* both, void* out, int64_t rows, int64_t width, int bf16, int threads) {
    if (bf16)
        gate_forward((const bfloat16*)both, (bfloat16*)out, rows, width, threads);
    else
        gate_forward((const float*)both, (float*)out, rows, width, threads);
}

void body_gate_backward(const void* both, const void* back, void* out, void* d_both, int64_t rows, int64_t width,
                        int bf16, int threads) {
    if (bf16)
        gate_backward((const bfloat16*)both, (const bfloat16*)back, (bfloat16*)out, (bfloat16*)d_both, rows, width,
                      threads);
    else
        gate_backward((const float*)both, (const float*)back, (float*)out, (float*)d_both, rows, width, threads);
}

void body_gelu_forward(const void* x, void* out, int64_t count, int bf16, int threads) {
    if (bf16)
        gelu_forward((const bfloat16*)x, (bfloat16*)out, count, threads);
    else
        gelu_forward((const float*)x, (float*)out, count, threads);
}

void body_gelu_backward(const void* x, const void* back, void* out, void* d_x, int64_t count, int bf16, int threads) {
    if (bf16)
        gelu_backward((const bfloat16*)x, (const bfloat16*)back, (bfloat16*)out, (bfloat16*)d_x, count, threads);
    else
        gelu_backward((const float*)x, (const float*)back, (float*)out, (float*)d_x, count, threads);
}

void body_columns(const void* from, float* to, int64_t rows, int64_t width, int bf16, int threads) {
    if (bf16)
        columns((const bfloat16*)from, to, rows, width, threads);
    else
        columns((const float*)from, to, rows, width, threads);
}
}
