// A decoder-only transformer over a few new tokens of many sequences: what a team of threads does in one pass.
//
// Threads meet five times a layer: after each of the four products (each thread made some columns) and after attention
// (each took some sequences and heads). Norms are computed by every thread for itself. Of tokens that nobody asks about
// the last layer computes keys and values alone.

#pragma once

#include "crowd.h"
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

static const int64_t CHUNK = 512;

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

static inline Lanes silu(Lanes x) { return x * sigmoid(x); }

static Lanes gelu(Lanes x) {
    return x * sigmoid((x + x * x * x * 0.044715f) * 1.5957691216f);  // 2·√(2/π): x·(1 + tanh u)/2 = x·σ(2u)
}

// In place: (x₁, x₂) → (x₁·cos − x₂·sin, x₂·cos + x₁·sin), halves of the head.
static void rotate(float* x, const float* cosines, const float* sines, int64_t half) {
    for (int64_t i = 0; i < half; ++i) {
        float a = x[i], b = x[half + i];
        x[i] = a * cosines[i] - b * sines[i];
        x[half + i] = b * cosines[i] + a * sines[i];
    }
}

// What one thread alone needs: the normalised rows that it multiplies, and its desk.
struct Corner {
    Desk desk;
    std::vector<char> memory;
    char* rows(int64_t bytes) {
        if ((int64_t)memory.size() < bytes + 64) memory.resize(bytes + 64);
        return memory.data() + (64 - (uintptr_t)memory.data() % 64) % 64;
    }
    static Corner& mine() {
        static thread_local Corner corner;
        return corner;
    }
};

// Working memory of a pass that its threads share.
template <class P>
struct Room {
    typedef typename P::Element E;
    int64_t across, wide, deep;  // numbers from one row to the next: queries-keys-values, attended, inner
    float *x, *mixed;
    E *attended, *inner;

    explicit Room(const Model& m, char* memory = nullptr)
        : across((m.heads + 2 * m.key_value_heads) * m.size), wide(row_stride<P>(m.heads * m.size)),
          deep(row_stride<P>(m.inner)) {
        attended = (E*)memory;  // first: where AMX reads, rows begin with cache lines
        inner = attended + CHUNK * wide;
        x = (float*)(inner + CHUNK * deep);
        mixed = x + CHUNK * m.hidden;
    }
    int64_t bytes(const Model& m) const { return CHUNK * ((wide + deep) * sizeof(E) + (m.hidden + across) * 4); }
};

// A thread's rows, normalised (or only narrowed), as products read them; room for rows rounded up to 32.
template <class P, class Row>
static typename P::Element* own_rows(int64_t count, int64_t width, Row row) {
    typedef typename P::Element E;
    int64_t stride = row_stride<P>(width);
    E* to = (E*)Corner::mine().rows((count + 31) / 32 * 32 * stride * sizeof(E));
    for (int64_t t = 0; t < count; ++t) {
        const float* from = row(t);
        for (int64_t i = 0; i < width; i += LANES) P::narrow(to + t * stride + i, load(from + i));
        for (int64_t i = width; i < (width + 31) / 32 * 32; i += LANES) P::narrow(to + t * stride + i, Lanes{});
    }
    return to;
}

// Neighbouring tokens of one sequence.
struct Run {
    int64_t from, to;
    int64_t cost;  // of one head's attention
};

template <class P>
struct Pass {
    typedef typename P::Element E;
    const Model& m;
    const Step& step;
    const Team& team;
    Pages<P> cache;
    Room<P> room;
    bool amx;
    int64_t own_stride;
    std::vector<Run> runs;
    int64_t work = 0;
    bool apart = false;  // one run outweighs a thread's share: its rows are divided too
    std::vector<char> wanted;  // of each token of the chunk, whether its hidden state is

    Pass(const Model& model, const Step& s, const Team& t, E* memory, int64_t pages, char* shared)
        : m(model), step(s), team(t), cache{memory, pages, model.key_value_heads, model.size}, room(model, shared),
          amx(model.half && amx_allowed()), own_stride(row_stride<P>(model.hidden)) {}

    void embed(int64_t start, int64_t count) {
        for (int64_t t = team.from(count); t < team.to(count); ++t) {
            const float* word = m.embedding + (int64_t)step.tokens[start + t] * m.hidden;
            const float* place = m.places ? m.places + (int64_t)step.positions[start + t] * m.hidden : nullptr;
            float* to = room.x + t * m.hidden;
            for (int64_t i = 0; i < m.hidden; ++i) to[i] = place ? word[i] + place[i] : word[i];
        }
    }

    void find_runs(int64_t start, int64_t count) {
        runs.clear();
        work = 0;
        int64_t most = 0;
        for (int64_t t = 0; t < count; ++t) {
            if (t == 0 || step.rows[start + t] != step.rows[start + t - 1]) runs.push_back(Run{t, t, 0});
            Run& run = runs.back();
            run.to = t + 1;
            run.cost += step.positions[start + t] + 4 * PAGE;
            work += (step.positions[start + t] + 4 * PAGE) * m.key_value_heads;
            if (run.to - run.from > 1) most = std::max(most, run.cost);
        }
        apart = most * team.of * 4 > work * 5;
    }

    E* normalised(const Norm& norm, int64_t count) {
        float row[m.hidden];
        return own_rows<P>(count, m.hidden, [&](int64_t t) {
            if (t + 2 < count)  // half of it lies in another thread's cache, which answers slowly
                for (int64_t i = 0; i < m.hidden; i += LANES) __builtin_prefetch(room.x + (t + 2) * m.hidden + i);
            normalise(room.x + t * m.hidden, m.hidden, norm, m.centred, m.eps, row);
            return (const float*)row;
        });
    }

    // Norms and rotation of what belongs to one key-value head of one token; its key and value go to their page.
    void place_head(const Layer& layer, int64_t number, int64_t start, int64_t t, int64_t count, int64_t head) {
        int64_t position = step.positions[start + t], row = step.rows[start + t];
        int64_t group = m.heads / m.key_value_heads, half = m.size / 2;
        float* all = room.mixed + t * room.across;
        for (int64_t h = 0; h <= group; ++h) {
            float* part = all + (h < group ? head * group + h : m.heads + head) * m.size;
            const Norm& norm = h < group ? layer.query : layer.key;
            if (norm.weight) normalise(part, m.size, norm, false, m.eps, part);
            if (m.cosines) rotate(part, m.cosines + position * half, m.sines + position * half, half);
        }
        int64_t place = position % PAGE;
        bool begun = t >= place && step.rows[start + t - place] == row;
        bool more = place + 1 < PAGE && t + 1 < count && step.rows[start + t + 1] == row;
        int64_t page = step.table[row * step.table_width + position / PAGE];
        const float* key = all + (m.heads + head) * m.size;
        cache.write(cache.at(number, page, head), place, key, key + m.key_value_heads * m.size, begun && !more);
    }

    View view_of(const Layer& layer, int64_t token) const {
        int64_t end = (int64_t)step.positions[token] + 1;
        return View{step.table + (int64_t)step.rows[token] * step.table_width,
                    layer.window ? std::max<int64_t>(0, end - layer.window) : 0, end};
    }

    // One key-value head of tokens [from, to) of the chunk.
    void attend_tokens(const Layer& layer, int64_t number, int64_t start, int64_t from, int64_t to, int64_t head) {
        int64_t group = m.heads / m.key_value_heads;
        Crowd<P> crowd(cache, number, head, group, layer.scale, amx, Corner::mine().desk);
        for (int64_t t = from; t < to; ++t) {
            if (number + 1 == m.layers && !wanted[t]) continue;
            crowd.add(room.mixed + t * room.across + head * group * m.size,
                      room.attended + t * room.wide + head * group * m.size, view_of(layer, start + t));
        }
        crowd.attend();
    }

    void attend_rows(const Layer& layer, int64_t number, int64_t start, int64_t count) {
        if (apart) {
            for (int64_t t = team.from(count); t < team.to(count); ++t)
                for (int64_t h = 0; h < m.key_value_heads; ++h) place_head(layer, number, start, t, count, h);
            team.wait();
            int64_t some = amx ? TILE : 1;  // neighbours, which may attend together
            for (int64_t t = team.me * some; t < count; t += team.of * some)
                for (int64_t h = 0; h < m.key_value_heads; ++h)
                    attend_tokens(layer, number, start, t, std::min(t + some, count), h);
        } else {
            for (int64_t h = 0; h < m.key_value_heads; ++h) {
                int64_t from = count, to = 0, before = 0;
                for (const Run& run : runs) {  // a task is the thread's in whose share its middle lies
                    int64_t middle = 2 * (before * m.key_value_heads + run.cost * h) + run.cost;
                    before += run.cost;
                    if (middle * team.of / (2 * work) != team.me) continue;
                    from = std::min(from, run.from);
                    to = run.to;
                    for (int64_t t = run.from; t < run.to; ++t) place_head(layer, number, start, t, count, h);
                }
                if (from < to) attend_tokens(layer, number, start, from, to, h);
            }
        }
        if (amx) use_whole_tiles();
    }

    void add_to_stream(const Matrix& weight, const E* from, int64_t stride, int64_t count) {
        multiply<P>(team, weight, from, stride, count, amx, [&](int64_t row, int64_t column, const float* value) {
            float* to = room.x + row * m.hidden + column;
            store(to, load(to) + load(value));
            if (column + TILE < m.hidden) store(to + TILE, load(to + TILE) + load(value + TILE));
        });
        team.wait();
    }

    void expand(const Layer& layer, int64_t count) {
        const E* own = normalised(layer.between, count);
        if (m.gated)
            multiply<P>(team, layer.up, own, own_stride, count, amx,
                        [&](int64_t row, int64_t column, const float* value) {
                P::narrow(room.inner + row * room.deep + column / 2, silu(load(value)) * load(value + TILE));
            });
        else
            multiply<P>(team, layer.up, own, own_stride, count, amx,
                        [&](int64_t row, int64_t column, const float* value) {
                E* to = room.inner + row * room.deep + column;
                P::narrow(to, gelu(load(value)));
                if (column + TILE < m.inner) P::narrow(to + TILE, gelu(load(value + TILE)));
            });
        team.wait();
    }

    void run_layer(const Layer& layer, int64_t number, int64_t start, int64_t count) {
        const E* own = normalised(layer.before, count);
        multiply<P>(team, layer.attend, own, own_stride, count, amx,
                    [&](int64_t row, int64_t column, const float* value) {
            float* to = room.mixed + row * room.across + column;
            store(to, load(value));
            if (column + TILE < room.across) store(to + TILE, load(value + TILE));
        });
        team.wait();
        attend_rows(layer, number, start, count);
        team.wait();
        if (number + 1 == m.layers) count = keep_wanted(count);
        add_to_stream(layer.back, room.attended, room.wide, count);
        expand(layer, count);
        add_to_stream(layer.down, room.inner, room.deep, count);
    }

    // Moves the rows that are wanted together at the beginning; how many they are.
    int64_t keep_wanted(int64_t count) {
        int64_t kept = std::count(wanted.begin(), wanted.begin() + count, 1);
        if (kept == count) return count;
        if (team.me == 0)
            for (int64_t t = 0, to = 0; t < count; ++t) {
                if (!wanted[t]) continue;
                std::memmove(room.attended + to * room.wide, room.attended + t * room.wide, room.wide * sizeof(E));
                std::memmove(room.x + to * m.hidden, room.x + t * m.hidden, m.hidden * sizeof(float));
                ++to;
            }
        team.wait();
        return kept;
    }

    // Called by every thread; when it returns all hidden states are there.
    void run() {
        int64_t given = 0;
        for (int64_t start = 0; start < step.count; start += CHUNK) {
            int64_t count = std::min(CHUNK, step.count - start), end = given;
            while (end < step.asked && step.which[end] < start + count) ++end;
            wanted.assign(count, 0);
            for (int64_t i = given; i < end; ++i) wanted[step.which[i] - start] = 1;
            find_runs(start, count);
            embed(start, count);
            team.wait();
            for (int64_t number = 0; number < m.layers; ++number) run_layer(m.layer[number], number, start, count);
            for (int64_t i = given + team.from(end - given); i < given + team.to(end - given); ++i)
                normalise(room.x + (i - given) * m.hidden, m.hidden, m.last, m.centred, m.eps,
                          step.hidden + i * m.hidden);
            team.wait();
            given = end;
        }
    }
};

// out [count, out_stride], out_stride a multiple of 32. Called by every thread; all are through when it returns.
template <class P>
static void find_logits(const Model& m, const Team& team, const float* hidden, int64_t count, float* out,
                        int64_t out_stride) {
    const typename P::Element* own = own_rows<P>(count, m.hidden, [&](int64_t r) { return hidden + r * m.hidden; });
    multiply<P>(team, m.head, own, row_stride<P>(m.hidden), count, m.half && amx_allowed(),
                [&](int64_t row, int64_t column, const float* value) {
                    store(out + row * out_stride + column, load(value));
                    store(out + row * out_stride + column + TILE, load(value + TILE));
                });
    team.wait();
}
