// From logits to what a loss needs of them, row by row while they are in cache: the log-probability of a given token,
// the entropy, and, in the logits' own place, P − onehot, from which both gradients of the output layer are products.

#include "blocks.h"

template <typename T>
static void rows(T* logits, int64_t count, int64_t vocabulary, const int64_t* targets, float scale, float* logp,
                 float* entropy, bool residual, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < count; ++row) {
        static thread_local std::vector<float> held;
        held.resize(vocabulary);
        float* value = held.data();
        T* from = logits + row * vocabulary;
        float top = -INFINITY;
#pragma omp simd reduction(max : top)
        for (int64_t i = 0; i < vocabulary; ++i) {
            value[i] = number(from[i]) * scale;
            top = top < value[i] ? value[i] : top;
        }
        float right = value[targets[row]] - top, sum = 0, weighted = 0;
        if (entropy || residual) {
#pragma omp simd reduction(+ : sum, weighted)
            for (int64_t i = 0; i < vocabulary; ++i) {
                float gap = value[i] - top, weight = exponential(gap);
                value[i] = weight;
                sum += weight;
                weighted += weight > 0 ? weight * gap : 0.0f;
            }
        } else {
#pragma omp simd reduction(+ : sum)
            for (int64_t i = 0; i < vocabulary; ++i) sum += exponential(value[i] - top);
        }
        float whole = std::log(sum);
        logp[row] = right - whole;
        if (entropy) entropy[row] = whole - weighted / sum;
        if (residual) {
            float share = 1.0f / sum;
#pragma omp simd
            for (int64_t i = 0; i < vocabulary; ++i) value[i] *= share;
            value[targets[row]] -= 1.0f;  // before any rounding: 1 − p of a confident token would be lost
            convert(from, value, vocabulary);
        }
    }
}

extern "C" {

// logits [count, vocabulary], bfloat16 or float32; logp, entropy (or null) [count] float32, of softmax(logits · scale)
void head_rows(void* logits, int64_t count, int64_t vocabulary, const int64_t* targets, float scale, float* logp,
               float* entropy, int residual, int bf16, int threads) {
    if (bf16)
        rows((bfloat16*)logits, count, vocabulary, targets, scale, logp, entropy, residual, threads);
    else
        rows((float*)logits, count, vocabulary, targets, scale, logp, entropy, residual, threads);
}
}
