// A decoder-only transformer over a few new tokens of many sequences, and the drawing of what comes next.
//
//   tokens ─► decoder_forward ─► hidden states of those that are asked ─► decoder_logits ─► decoder_draw
//   answers under way ─► decoder_continue: all of it, several tokens of each in one call
//
// Decoding is one token of each sequence, prefilling is many tokens of one: both are the same call, mixed as they come,
// for each token writes its key and value before any attends. Every row is computed by itself in a fixed order
// (product.h, pages.h), so what a sequence gets depends neither on its neighbours nor on the number of threads.

#include "draw.h"
#include "pass.h"

template <class P>
static void forward(const Model& m, const Step& step, void* memory, int64_t pages, char* room, int threads) {
    Meeting meeting;
#pragma omp parallel num_threads(threads)
    {
        Team team(meeting);
        TileSession session(m.half && amx_allowed());
        Pass<P>(m, step, team, (typename P::Element*)memory, pages, room).run();
    }
}

template <class P>
static void logits(const Model& m, const float* hidden, int64_t count, float* out, int64_t stride, int threads) {
    Meeting meeting;
#pragma omp parallel num_threads(threads)
    {
        Team team(meeting);
        TileSession session(m.half && amx_allowed());
        find_logits<P>(m, team, hidden, count, out, stride);
    }
}

// Answers under way, and everything that is noted of them. Arrays by answer have `width` places a row.
struct Answers {
    int64_t count, width;
    const int32_t* rows;           // [count] of `table`
    int32_t *tokens, *positions;   // [count] what each goes on from
    const int64_t* numbers;        // [count] which answer each is
    const int32_t* table;
    int64_t table_width;
    const float* noise;            // [answers, width]
    int64_t* drawn;                // [answers, width]
    float* logprobs;               // [answers, width]
    int64_t* counts;               // [answers] tokens drawn so far
    const int64_t* limits;         // [answers]
    uint8_t* stopped;              // [answers]
    const int64_t* ends;
    int64_t ends_count;
    float temperature;
    int32_t greedy;
    float *hidden, *logits;        // [count, hidden], [at_once, logits_stride]
    int64_t at_once, logits_stride;
};

// The answers that go on, in order, at the beginning of each list.
struct Going {
    std::vector<int32_t> rows, tokens, positions, which, drawn;
    std::vector<int64_t> places;  // in the lists of `Answers`
    std::vector<float> noise, logprobs;

    explicit Going(const Answers& a) : rows(a.rows, a.rows + a.count), tokens(a.tokens, a.tokens + a.count),
        positions(a.positions, a.positions + a.count), which(a.count), drawn(a.count), places(a.count), noise(a.count),
        logprobs(a.count) {
        for (int64_t i = 0; i < a.count; ++i) which[i] = (int32_t)i, places[i] = i;
        look_up(a);
    }
    int64_t count() const { return (int64_t)places.size(); }
    void look_up(const Answers& a) {
        for (int64_t i = 0; i < count(); ++i) {
            int64_t answer = a.numbers[places[i]];
            noise[i] = a.noise[answer * a.width + a.counts[answer]];
        }
    }
    // Notes what was drawn and keeps those that go on; whether any ended.
    bool note(const Answers& a) {
        int64_t kept = 0;
        for (int64_t i = 0; i < count(); ++i) {
            int64_t place = places[i], answer = a.numbers[place], at = answer * a.width + a.counts[answer]++;
            a.drawn[at] = drawn[i];
            a.logprobs[at] = logprobs[i];
            a.tokens[place] = drawn[i];
            a.positions[place] += 1;
            a.stopped[answer] = std::find(a.ends, a.ends + a.ends_count, (int64_t)drawn[i]) != a.ends + a.ends_count;
            if (a.stopped[answer] || a.counts[answer] >= a.limits[answer]) continue;
            rows[kept] = rows[i];
            tokens[kept] = drawn[i];
            positions[kept] = positions[i] + 1;
            places[kept++] = place;
        }
        bool ended = kept < count();
        places.resize(kept);
        look_up(a);
        return ended;
    }
};

template <class P>
static void go_on(const Model& m, Answers& a, int64_t passes, bool until_one_ends, void* memory, int64_t pages,
                  char* room, int threads) {
    Meeting meeting;
    Going going(a);
    bool over = a.count == 0 || passes <= 0;
#pragma omp parallel num_threads(threads)
    {
        Team team(meeting);
        TileSession session(m.half && amx_allowed());
        for (int64_t pass = 1; !over; ++pass) {
            int64_t count = going.count();
            Step step{count, going.tokens.data(), going.positions.data(), going.rows.data(), a.table, a.table_width,
                      count, going.which.data(), a.hidden};
            Pass<P>(m, step, team, (typename P::Element*)memory, pages, room).run();
            for (int64_t start = 0; start < count; start += a.at_once) {
                int64_t some = std::min(a.at_once, count - start);
                find_logits<P>(m, team, a.hidden + start * m.hidden, some, a.logits, a.logits_stride);
                for (int64_t i = team.from(some); i < team.to(some); ++i)
                    draw_row(a.logits + i * a.logits_stride, m.vocabulary, 1.0f / a.temperature, going.noise[start + i],
                             a.greedy, &going.drawn[start + i], &going.logprobs[start + i]);
                team.wait();
            }
            if (team.me == 0) {
                bool ended = going.note(a);
                over = pass == passes || going.count() == 0 || (ended && until_one_ends);
            }
            team.wait();
        }
    }
}

extern "C" {

// 2: bfloat16 by AMX; 1: by AVX-512 or plain loops
int decoder_kind() { return amx_allowed() ? 2 : 1; }

// Bytes of working memory that decoder_forward needs.
int64_t decoder_room(const Model* m) { return m->half ? Room<Half>(*m).bytes(*m) : Room<Single>(*m).bytes(*m); }

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
void decoder_logits(const Model* m, const float* hidden, int64_t count, float* out, int64_t out_stride, int threads) {
    if (m->half)
        logits<Half>(*m, hidden, count, out, out_stride, threads);
    else
        logits<Single>(*m, hidden, count, out, out_stride, threads);
}

// At most `passes` more tokens of every answer, until all have ended (or, if so asked, one has).
void decoder_continue(const Model* m, Answers* answers, int64_t passes, int until_one_ends, void* memory, int64_t pages,
                      void* room, int threads) {
    if (m->half)
        go_on<Half>(*m, *answers, passes, until_one_ends, memory, pages, (char*)room, threads);
    else
        go_on<Single>(*m, *answers, passes, until_one_ends, memory, pages, (char*)room, threads);
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
            for (int j = 0; j < WIDE; ++j) {
                uint32_t mixed = (lanes[j] ^ from[i + j]) * 2654435761u;  // which carries a change upwards only
                lanes[j] = mixed ^ (mixed >> 15);
            }
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
