// A decoder-only transformer over a few new tokens of many sequences, and the drawing of what comes next.
//
//   tokens ─► decoder_forward ─► hidden states of those that are asked ─► decoder_logits ─► decoder_draw
//
// Decoding is one token of each sequence, prefilling is many tokens of one: both are the same call, mixed as they come,
// for each token writes its key and value before any attends. Every row is computed by itself in a fixed order
// (product.h, pages.h), so what a sequence gets depends neither on its neighbours nor on the number of threads.

#include "pages.h"
#include "product.h"

struct Norm {
    const float* weight;
    const float* bias;
};

struct Layer {
    Norm before, between;
    Norm query, key;  // per head; null where the model has none
    Matrix attend, back, up, down;
    int64_t window;  // tokens looked back to, 0 = all
    float scale;
};

struct Model {
    int64_t layers, hidden, heads, key_value_heads, size, inner, vocabulary;
    int32_t half;      // weights, keys and values in bfloat16
    int32_t centred;   // LayerNorm (mean taken off) rather than RMSNorm
    int32_t gated;     // SiLU(gate)·up rather than GELU(up), tanh form
    float eps;
    const float* embedding;
    const float* places;  // learned positions, or null
    const float* cosines; // rotary tables [positions, size / 2], or null
    const float* sines;
    Norm last;
    Matrix head;
    const Layer* layer;
};

// One new token of each of `count` places: which token, at which position of which sequence (a row of `table`).
struct Step {
    int64_t count;
    const int32_t *tokens, *positions, *rows;
    const int32_t* table;  // [sequences, table_width]: pages in order
    int64_t table_width;
    int64_t asked;
    const int32_t* which;  // ascending: the tokens whose hidden states are wanted
    float* hidden;         // [asked, hidden]
};

static const int64_t CHUNK = 256;

static void normalise(const float* x, int64_t width, const Norm& norm, bool centred, float eps, float* out) {
    Lanes sums = {};
    float mean = 0;
    if (centred) {
        for (int64_t i = 0; i < width; i += LANES) sums += load(x + i);
        mean = total(sums) / width;
        sums = Lanes{};
    }
    for (int64_t i = 0; i < width; i += LANES) {
        Lanes value = load(x + i) - mean;
        sums += value * value;
    }
    float factor = 1.0f / std::sqrt(total(sums) / width + eps);
    for (int64_t i = 0; i < width; i += LANES) {
        Lanes value = (load(x + i) - mean) * factor * load(norm.weight + i);
        store(out + i, norm.bias ? value + load(norm.bias + i) : value);
    }
}

template <class P>
static void narrow_row(const float* from, int64_t width, typename P::Element* to) {
    for (int64_t i = 0; i < width; i += LANES) P::narrow(to + i, load(from + i));
}

static Lanes silu(Lanes x) { return x / (exponential(-x) + 1.0f); }

static Lanes gelu(Lanes x) {
    Lanes inner = (x + x * x * x * 0.044715f) * 1.5957691216f;  // 2·√(2/π): x·(1 + tanh u)/2 = x·σ(2u)
    return x / (exponential(-inner) + 1.0f);
}

// In place: (x₁, x₂) → (x₁·cos − x₂·sin, x₂·cos + x₁·sin), halves of the head.
static void rotate(float* x, const float* cosines, const float* sines, int64_t half) {
    for (int64_t i = 0; i < half; ++i) {
        float a = x[i], b = x[half + i];
        x[i] = a * cosines[i] - b * sines[i];
        x[half + i] = b * cosines[i] + a * sines[i];
    }
}

static int64_t padded(int64_t width) { return (width + 31) / 32 * 32; }

static int64_t widest(const Model& m) { return padded(std::max({m.hidden, m.heads * m.size, m.inner})); }

template <class P>
struct Pass {
    typedef typename P::Element E;
    const Model& m;
    const Step& step;
    Pages<P> cache;
    bool amx;
    int64_t across;  // columns of a query-key-value row
    int64_t stride;  // of the operands of products
    float *x, *mixed;
    E *left, *inner;

    Pass(const Model& model, const Step& s, E* memory, int64_t pages, char* room)
        : m(model), step(s), cache{memory, pages, model.key_value_heads, model.size}, amx(model.half && amx_allowed()),
          across((model.heads + 2 * model.key_value_heads) * model.size), stride(widest(model)) {
        x = (float*)room;
        mixed = x + CHUNK * m.hidden;
        left = (E*)(mixed + CHUNK * across);
        inner = left + CHUNK * stride;
    }

    void embed(int64_t start, int64_t count) {
#pragma omp for schedule(static)
        for (int64_t t = 0; t < count; ++t) {
            const float* word = m.embedding + (int64_t)step.tokens[start + t] * m.hidden;
            const float* place = m.places ? m.places + (int64_t)step.positions[start + t] * m.hidden : nullptr;
            for (int64_t i = 0; i < m.hidden; ++i) x[t * m.hidden + i] = place ? word[i] + place[i] : word[i];
        }
    }

    void normalise_rows(const Norm& norm, int64_t count) {
#pragma omp for schedule(static)
        for (int64_t t = 0; t < count; ++t) {
            float row[m.hidden];
            normalise(x + t * m.hidden, m.hidden, norm, m.centred, m.eps, row);
            narrow_row<P>(row, m.hidden, left + t * stride);
        }
    }

    void place_heads(const Layer& layer, int64_t number, int64_t start, int64_t count) {
#pragma omp for schedule(static)
        for (int64_t t = 0; t < count; ++t) {
            int64_t position = step.positions[start + t], row = step.rows[start + t];
            float* query = mixed + t * across;
            float* key = query + m.heads * m.size;
            for (int64_t h = 0; h < m.heads + m.key_value_heads; ++h) {
                float* head = query + h * m.size;
                const Norm& norm = h < m.heads ? layer.query : layer.key;
                if (norm.weight) normalise(head, m.size, norm, false, m.eps, head);
                if (m.cosines) {
                    int64_t half = m.size / 2;
                    rotate(head, m.cosines + position * half, m.sines + position * half, half);
                }
            }
            bool more = t + 1 < count && step.rows[start + t + 1] == row;
            int64_t page = step.table[row * step.table_width + position / PAGE];
            for (int64_t h = 0; h < m.key_value_heads; ++h)
                cache.write(cache.at(number, page, h), position % PAGE, key + h * m.size,
                            key + (m.key_value_heads + h) * m.size, !more);
        }
    }

    void attend_rows(const Layer& layer, int64_t number, int64_t start, int64_t count) {
        static thread_local Desk desk;
        int64_t group = m.heads / m.key_value_heads;
#pragma omp for schedule(dynamic, 8)
        for (int64_t i = 0; i < count * m.key_value_heads; ++i) {
            int64_t head = i / count, t = i % count, end = (int64_t)step.positions[start + t] + 1;
            View view{step.table + (int64_t)step.rows[start + t] * step.table_width,
                      layer.window ? std::max<int64_t>(0, end - layer.window) : 0, end};
            attend(cache, number, head, view, mixed + t * across + head * group * m.size, group, layer.scale,
                   left + t * stride + head * group * m.size, desk);
        }
    }

    void add_to_stream(const Matrix& weight, const E* from, int64_t count) {
        multiply<P>(weight, from, stride, count, amx, [&](int64_t row, int64_t column, const float* value) {
            float* to = x + row * m.hidden + column;
            store(to, load(to) + load(value));
            if (column + TILE < m.hidden) store(to + TILE, load(to + TILE) + load(value + TILE));
        });
    }

    void run_layer(const Layer& layer, int64_t number, int64_t start, int64_t count) {
        normalise_rows(layer.before, count);
        multiply<P>(layer.attend, left, stride, count, amx, [&](int64_t row, int64_t column, const float* value) {
            store(mixed + row * across + column, load(value));
            if (column + TILE < across) store(mixed + row * across + column + TILE, load(value + TILE));
        });
        place_heads(layer, number, start, count);
        attend_rows(layer, number, start, count);
        add_to_stream(layer.back, left, count);
        normalise_rows(layer.between, count);
        if (m.gated)
            multiply<P>(layer.up, left, stride, count, amx, [&](int64_t row, int64_t column, const float* value) {
                P::narrow(inner + row * stride + column / 2, silu(load(value)) * load(value + TILE));
            });
        else
            multiply<P>(layer.up, left, stride, count, amx, [&](int64_t row, int64_t column, const float* value) {
                P::narrow(inner + row * stride + column, gelu(load(value)));
                if (column + TILE < m.inner)
                    P::narrow(inner + row * stride + column + TILE, gelu(load(value + TILE)));
            });
        add_to_stream(layer.down, inner, count);
    }

    void run() {
        int64_t given = 0;
        for (int64_t start = 0; start < step.count; start += CHUNK) {
            int64_t count = std::min(CHUNK, step.count - start), end = given;
            while (end < step.asked && step.which[end] < start + count) ++end;
            embed(start, count);
            for (int64_t number = 0; number < m.layers; ++number) run_layer(m.layer[number], number, start, count);
#pragma omp for schedule(static)
            for (int64_t i = given; i < end; ++i)
                normalise(x + (step.which[i] - start) * m.hidden, m.hidden, m.last, m.centred, m.eps,
                          step.hidden + i * m.hidden);
            given = end;
        }
    }
};

template <class P>
static void forward(const Model& m, const Step& step, void* memory, int64_t pages, char* room, int threads) {
    Pass<P> pass(m, step, (typename P::Element*)memory, pages, room);
#pragma omp parallel num_threads(threads)
    {
        TileSession session(pass.amx);
        pass.run();
    }
}

template <class P>
static void logits(const Model& m, const float* hidden, int64_t count, char* room, float* out, int64_t out_stride,
                   int threads) {
    typename P::Element* left = (typename P::Element*)room;
    int64_t stride = widest(m);
    bool amx = m.half && amx_allowed();
#pragma omp parallel num_threads(threads)
    {
        TileSession session(amx);
#pragma omp for schedule(static)
        for (int64_t r = 0; r < count; ++r) narrow_row<P>(hidden + r * m.hidden, m.hidden, left + r * stride);
        multiply<P>(m.head, left, stride, count, amx, [&](int64_t row, int64_t column, const float* value) {
            store(out + row * out_stride + column, load(value));
            store(out + row * out_stride + column + TILE, load(value + TILE));
        });
    }
}

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

extern "C" {

// 2: bfloat16 by AMX; 1: by AVX-512 or plain loops
int decoder_kind() { return amx_allowed() ? 2 : 1; }

// Bytes of working memory that decoder_forward needs (rows = 0), or decoder_logits for that many rows.
int64_t decoder_room(const Model* m, int64_t rows) {
    int64_t element = m->half ? 2 : 4, across = (m->heads + 2 * m->key_value_heads) * m->size;
    if (rows) return (rows + 31) / 32 * 32 * widest(*m) * element;
    return CHUNK * ((m->hidden + across) * 4 + 2 * widest(*m) * element);
}

// Bytes of `columns` × `depth` in tiles.
int64_t decoder_tiles(int64_t columns, int64_t depth, int half) {
    int64_t deep = half ? depth_tiles<Half>(depth) : depth_tiles<Single>(depth);
    return (columns + COLUMNS - 1) / COLUMNS * deep * 2 * TILE_WORDS * 4;
}

void decoder_lay(const float* from, int64_t by_column, int64_t by_depth, int64_t columns, int64_t depth,
                 int64_t first, int64_t step, void* tiles, int half, int threads) {
    if (half)
        lay_tiles<Half>(from, by_column, by_depth, columns, depth, first, step, (bfloat16*)tiles, threads);
    else
        lay_tiles<Single>(from, by_column, by_depth, columns, depth, first, step, (float*)tiles, threads);
}

void decoder_forward(const Model* m, const Step* step, void* memory, int64_t pages, void* room, int threads) {
    if (m->half)
        forward<Half>(*m, *step, memory, pages, (char*)room, threads);
    else
        forward<Single>(*m, *step, memory, pages, (char*)room, threads);
}

// out [count, out_stride], out_stride a multiple of 32
void decoder_logits(const Model* m, const float* hidden, int64_t count, void* room, float* out, int64_t out_stride,
                    int threads) {
    if (m->half)
        logits<Half>(*m, hidden, count, (char*)room, out, out_stride, threads);
    else
        logits<Single>(*m, hidden, count, (char*)room, out, out_stride, threads);
}

// Draw i takes row rows[i] of `logits` and the number noise[i] in [0, 1): inverse transform over the whole vocabulary.
void decoder_draw(const float* logits, int64_t stride, int64_t vocabulary, int64_t draws, const int32_t* rows,
                  const float* noise, float temperature, int greedy, int32_t* tokens, float* logprobs, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < draws; ++i)
        draw_row(logits + rows[i] * stride, vocabulary, 1.0f / temperature, noise[i], greedy, tokens + i,
                 logprobs + i);
}

// What page sources[i] holds, in all layers and heads, goes to page targets[i].
void decoder_copy(void* memory, int64_t layers, int64_t pages, int64_t page_bytes, int64_t count,
                  const int32_t* sources, const int32_t* targets, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t layer = 0; layer < layers; ++layer)
        for (int64_t i = 0; i < count; ++i)
            std::memcpy((char*)memory + (layer * pages + targets[i]) * page_bytes,
                        (char*)memory + (layer * pages + sources[i]) * page_bytes, page_bytes);
}

// A number that almost surely differs where a single bit does: whether weights changed since they were laid in tiles.
uint64_t decoder_digest(const uint32_t* words, int64_t count, int threads) {
    const int64_t SPAN = 1 << 16;
    int64_t spans = (count + SPAN - 1) / SPAN;
    std::vector<uint64_t> parts(spans);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t s = 0; s < spans; ++s) {
        const int WIDE = 64;
        uint32_t lanes[WIDE] = {};
        const uint32_t* from = words + s * SPAN;
        int64_t end = std::min(SPAN, count - s * SPAN), i = 0;
        for (; i + WIDE <= end; i += WIDE)
            for (int j = 0; j < WIDE; ++j) lanes[j] = lanes[j] * 2654435761u + (from[i + j] ^ 0x9E3779B9u);
        uint64_t sum = 0x9E3779B97F4A7C15u;
        for (; i < end; ++i) sum = (sum ^ from[i]) * 0x100000001B3u;
        for (int j = 0; j < WIDE; ++j) sum = (sum ^ lanes[j]) * 0x9E3779B97F4A7C15u + (sum >> 29);
        parts[s] = sum;
    }
    uint64_t sum = (uint64_t)count;
    for (uint64_t part : parts) sum = (sum ^ part) * 0x9E3779B97F4A7C15u + (sum >> 31);
    return sum;
}
}
