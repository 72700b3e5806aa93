// Root-mean-square normalisation over the last axis (Zhang & Sennrich 2019, 1910.07467), forward and backward.
//
// x, out, gradients: [rows, width], contiguous, float or bfloat16; weight [width] float32; scale [rows] float32 kept.
// Each row is one thread's work and summed in one order, so the result does not depend on the number of threads;
// d_weight is summed over fixed blocks of rows, for the same reason.

#include "numbers.h"

template <typename T>
static void forward(const T* x, const float* weight, T* out, float* scale, int64_t rows, int64_t width, float eps,
                    int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; ++row) {
        const T* in = x + row * width;
        T* to = out + row * width;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < width; ++i) {
            float value = number(in[i]);
            sum += value * value;
        }
        float factor = 1.0f / std::sqrt(sum / width + eps);
        scale[row] = factor;
#pragma omp simd
        for (int64_t i = 0; i < width; ++i) to[i] = as<T>(number(in[i]) * factor * weight[i]);
    }
}

static const int64_t BLOCK = 64;

template <typename T>
static void backward(const T* x, const float* weight, const float* scale, const T* back, T* d_x, float* d_weight,
                     float* partial, int64_t rows, int64_t width, int threads) {
    // d_x = s·(g·w) − x·s³/width·Σ(g·w·x);  d_weight = Σ_rows g·x·s
    int64_t blocks = (rows + BLOCK - 1) / BLOCK;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t block = 0; block < blocks; ++block) {
        float* sums = partial + block * width;
        for (int64_t i = 0; i < width; ++i) sums[i] = 0;
        int64_t end = std::min(rows, (block + 1) * BLOCK);
        for (int64_t row = block * BLOCK; row < end; ++row) {
            const T *in = x + row * width, *g = back + row * width;
            T* to = d_x + row * width;
            float s = scale[row], dot = 0;
#pragma omp simd reduction(+ : dot)
            for (int64_t i = 0; i < width; ++i) {
                float gx = number(g[i]) * number(in[i]);
                sums[i] += gx * s;
                dot += gx * weight[i];
            }
            float pull = dot * s * s * s / width;
#pragma omp simd
            for (int64_t i = 0; i < width; ++i)
                to[i] = as<T>(number(g[i]) * weight[i] * s - number(in[i]) * pull);
        }
    }
    for (int64_t i = 0; i < width; ++i) d_weight[i] = 0;
    for (int64_t block = 0; block < blocks; ++block)
        for (int64_t i = 0; i < width; ++i) d_weight[i] += partial[block * width + i];
}

extern "C" {

int64_t norm_block() { return BLOCK; }

// bf16: whether x, out and gradients are bfloat16
void norm_forward(const void* x, const float* weight, void* out, float* scale, int64_t rows, int64_t width, float eps,
                  int bf16, int threads) {
    if (bf16)
        forward((const bfloat16*)x, weight, (bfloat16*)out, scale, rows, width, eps, threads);
    else
        forward((const float*)x, weight, (float*)out, scale, rows, width, eps, threads);
}

// partial: room for [ceil(rows / norm_block()), width] float32
void norm_backward(const void* x, const float* weight, const float* scale, const void* back, void* d_x,
                   float* d_weight, float* partial, int64_t rows, int64_t width, int bf16, int threads) {
    if (bf16)
        backward((const bfloat16*)x, weight, scale, (const bfloat16*)back, (bfloat16*)d_x, d_weight, partial, rows,
                 width, threads);
    else
        backward((const float*)x, weight, scale, (const float*)back, (float*)d_x, d_weight, partial, rows, width,
                 threads);
}
}
