// One step of AdamW over many tensors, each number read and written once: gradients are scaled, weights decayed and
// moved, moments renewed and bfloat16 copies of the weights made in the same pass. And the sum of squares of many.

#include <vector>

#include "blocks.h"

static const int64_t BLOCK = 1 << 14;  // numbers at a time: what was written is in cache when it is narrowed

struct Job {
    float* weight;
    const float* gradient;
    float* mean;
    float* square;
    bfloat16* narrow;  // a copy of the weight, or null
    int64_t count;
    float share;   // of the gradient
    float keep;    // of the weight: 1 − rate · decay
    float stride;  // rate / (1 − β₁ᵗ)
    float root;    // √(1 − β₂ᵗ)
    float eps, fresh, old, young;  // 1 − β₁, β₂, 1 − β₂
};

struct Span {
    int64_t job, from, to;
};

template <typename Each>
static std::vector<Span> spans(int64_t jobs, Each count) {
    std::vector<Span> found;
    for (int64_t job = 0; job < jobs; ++job)
        for (int64_t from = 0; from < count(job); from += BLOCK)
            found.push_back({job, from, std::min(from + BLOCK, count(job))});
    return found;
}

static void update(const Job& job, int64_t from, int64_t to) {
    float *weight = job.weight, *mean = job.mean, *square = job.square;
    const float* gradient = job.gradient;
    const float share = job.share, keep = job.keep, stride = job.stride, root = job.root, eps = job.eps;
    const float fresh = job.fresh, old = job.old, young = job.young;
#pragma omp simd
    for (int64_t i = from; i < to; ++i) {
        float slope = gradient[i] * share;
        float first = mean[i] + fresh * (slope - mean[i]);
        float second = square[i] * old + young * slope * slope;
        mean[i] = first;
        square[i] = second;
        weight[i] = weight[i] * keep - stride * first / (std::sqrt(second) / root + eps);
    }
    if (job.narrow) convert(job.narrow + from, weight + from, to - from);
}

extern "C" {

void adamw_step(const Job* jobs, int64_t many, int threads) {
    std::vector<Span> all = spans(many, [&](int64_t job) { return jobs[job].count; });
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < (int64_t)all.size(); ++i) update(jobs[all[i].job], all[i].from, all[i].to);
}

// Σ x² over all tensors, in double precision and in an order that depends on nothing
double adamw_squares(const float* const* tensors, const int64_t* counts, int64_t many, int threads) {
    std::vector<Span> all = spans(many, [&](int64_t job) { return counts[job]; });
    std::vector<double> sums(all.size());
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < (int64_t)all.size(); ++i) {
        const float* from = tensors[all[i].job];
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = all[i].from; j < all[i].to; ++j) sum += (double)from[j] * from[j];
        sums[i] = sum;
    }
    double whole = 0;
    for (double sum : sums) whole += sum;
    return whole;
}
}
