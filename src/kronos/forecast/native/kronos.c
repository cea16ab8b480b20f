/* The networks of kronos as one small library: look-backs are read, bars are written and decoded over caches that the
 * caller owns. Nothing is allocated here; how many threads take part is the caller's to say.
 *
 * The structs are mirrored in library.py. Shapes: m = rows * bars, d = width. */
#include "blocks.h"
#include "sampling.h"

#define EXPORT __attribute__((visibility("default")))

typedef struct {
    stack blocks;
    int s1_size, s2_size, trained; /* trained: queries and keys of the dependency layer are turned */
    const float *s1_table, *s2_table, *query_table, *norm, *dep_norm; /* (s1_size, d) (s2_size, d) (s1_size, d) (d) */
    linear dep_kv, dep_out, head_s1, head_s2;
    const float *dep_cosines, *dep_sines;
} network;

typedef struct {
    stack encoder, decoder;
    int inputs, s1_bits, s2_bits;
    linear embed, to_bits, from_bits, head;
} tokenizer;

EXPORT int kronos_panel(void) { return PANEL; }

/* Put rows of a matrix (n, k) into panels, every `every`-th panel from panel `first` on. int8 wants whole numbers. */
EXPORT void kronos_pack(const float *matrix, int n, int k, int type, int first, int every, void *to) {
    for (int p = 0; p * PANEL < n; p++)
        for (int i = 0; i < k; i++)
            for (int c = 0; c < PANEL; c++) {
                size_t at = ((size_t)(first + p * every) * k + i) * PANEL + c;
                float value = p * PANEL + c < n ? matrix[(size_t)(p * PANEL + c) * k + i] : 0.0f;
                uint32_t bits;
                memcpy(&bits, &value, 4);
                if (type == FLOAT32) ((float *)to)[at] = value;
                if (type == BFLOAT16) ((uint16_t *)to)[at] = (uint16_t)(bits >> 16); /* it was rounded before */
                if (type == INT8) ((int8_t *)to)[at] = (int8_t)lrintf(value);
            }
}

/* Tokens (rows) for logits (rows, n) and uniform numbers (rows); `odds` is room for n floats and a vector more. */
EXPORT void kronos_choose(const sampler *how, int rows, int n, const float *logits, const float *uniforms, float *odds,
                          int64_t *tokens) {
    for (int r = 0; r < rows; r++) tokens[r] = choose(how, logits + (size_t)r * n, n, uniforms[r], odds);
}

/* floats of scratch that a thread needs */
EXPORT size_t kronos_scratch(int width, int head_width, int shared_room, int own_room, int vocabulary) {
    size_t attention = (size_t)ROWS * (shared_room + own_room + 2 * PANEL + round_up(head_width, PANEL));
    size_t norms = (size_t)ALONE * width, odds = round_up(vocabulary, PANEL);
    size_t most = attention > norms ? attention : norms;
    return (most > odds ? most : odds) + PANEL;
}

static void add_rows(float *to, const float *a, const float *b, const float *c, int width) {
    int i = 0;
    for (; i + LANES <= width; i += LANES) store(to + i, load(a + i) + load(b + i) + load(c + i));
    for (; i < width; i++) to[i] = a[i] + b[i] + c[i];
}

/* (rows * count, d) inputs of bars: what their tokens and their times stand for. Times belong to series. */
static void embed(team who, const network *net, const cache *c, const work *w, int rows, int count, const int64_t *s1,
                  const int64_t *s2, const float *times, size_t times_stride) {
    int d = net->blocks.width, first, stop;
    share(rows * count, who, &first, &stop);
    for (int m = first; m < stop; m++)
        add_rows(w->x + (size_t)m * d, net->s1_table + s1[m] * d, net->s2_table + s2[m] * d,
                 times + (size_t)(m / count / c->paths) * times_stride + (size_t)(m % count) * d, d);
}

/* Keys and values of the dependency layer for contexts (rows * count, d). */
static void remember(team who, const network *net, const cache *c, const work *w, int rows, int count,
                     const float *contexts) {
    int d = net->blocks.width, first, stop;
    const layer_cache *l = c->layers + net->blocks.count;
    matmul(who, &net->dep_kv, contexts, d, rows * count, w->joint, (size_t)2 * d, SET);
    meet(who);
    share(rows * l->heads, who, &first, &stop);
    for (int unit = first; unit < stop; unit++) {
        int row = unit / l->heads, head = unit % l->heads, series = row / c->paths;
        part mine = own_part(c, l, row, head, 0);
        for (int i = 0; i < count; i++) {
            size_t position = (size_t)(c->lengths[series] + c->filled + i) * (l->width / 2);
            float *k = w->joint + ((size_t)row * count + i) * 2 * d + head * l->width;
            if (net->trained) turn(k, l->width, net->dep_cosines + position, net->dep_sines + position, 1.0f);
            keep((float *)mine.keys, (float *)mine.values, c->own_room, l->width, c->filled + i, k, k + d);
        }
    }
    meet(who);
}

typedef struct {
    const network *net;
    const cache *c;
    const work *w;
    int length;
    const int64_t *s1, *s2;
    const float *times;
    float *context;
} reading;

static void read_job(void *what, team who) {
    const reading *r = what;
    int d = r->net->blocks.width;
    embed(who, r->net, r->c, r->w, 1, r->length, r->s1, r->s2, r->times, 0);
    meet(who);
    follow(who, &r->net->blocks, r->c, r->w, 1, r->length, 0);
    const float *contexts = normed(who, r->w, r->w->x, r->length, d, r->net->blocks.eps, r->net->norm);
    remember(who, r->net, r->c, r->w, 1, r->length, contexts);
    if (who.id == 0) memcpy(r->context, contexts + (size_t)(r->length - 1) * d, sizeof(float) * d);
}

/* Read the look-back of one series, (length) tokens and (length, d) times. `c` shows the series' place in the shared
 * part as if it were the own part of a single row. The last context goes to `context` (d). */
EXPORT void kronos_read(const network *net, const cache *c, const work *w, int threads, int length, const int64_t *s1,
                        const int64_t *s2, const float *times, float *context) {
    together(threads, read_job, &(reading){net, c, w, length, s1, s2, times, context});
}

/* Ask the dependency layer for each row's chosen coarse token; the answers (rows, d) go to w->heard. */
static void ask(team who, const network *net, const cache *c, const work *w, int rows, const int64_t *s1) {
    const layer_cache *l = c->layers + net->blocks.count;
    int d = net->blocks.width, pieces = (c->paths + ROWS - 1) / ROWS;
    int units = (rows + c->paths - 1) / c->paths * pieces * l->heads;
    float scale = 1.0f / sqrtf((float)l->width), *scratch = w->scratch + who.id * w->scratch_size;
    for (int first, stop; claim(units, who, &first, &stop);)
    for (int unit = first; unit < stop; unit++) {
        int head = unit % l->heads, piece = unit / l->heads % pieces, n = unit / l->heads / pieces;
        int row = n * c->paths + piece * ROWS, left = c->paths - piece * ROWS, some = left < ROWS ? left : ROWS;
        size_t position = (size_t)(c->lengths[n] + c->filled - 1) * (l->width / 2);
        part common = common_part(c, l, n, head, c->filled), own[ROWS];
        for (int r = 0; r < some; r++) {
            own[r] = own_part(c, l, row + r, head, c->filled);
            float *q = w->joint + (size_t)(row + r) * d + head * l->width;
            const float *from = net->query_table + s1[row + r] * d + head * l->width;
            for (int i = 0; i < l->width; i++) q[i] = net->trained ? from[i] : from[i] * scale;
            if (net->trained) turn(q, l->width, net->dep_cosines + position, net->dep_sines + position, scale);
        }
        attend(some, w->joint + (size_t)row * d + head * l->width, d, l->width, &common, own, 0, 0, scratch,
               w->heard + (size_t)row * d + head * l->width, d);
    }
    meet(who);
}

static void choose_rows(team who, const sampler *how, const work *w, const float *logits, int rows, int size,
                        const float *uniforms, size_t uniforms_stride, int64_t *tokens) {
    float *odds = w->scratch + who.id * w->scratch_size;
    for (int first, stop; claim(rows, who, &first, &stop);)
        for (int r = first; r < stop; r++)
            tokens[r] = choose(how, logits + (size_t)r * size, size, uniforms[r * uniforms_stride], odds);
    meet(who);
}

/* From contexts (rows, d) to both tokens of the next bar. */
static void choose_both(team who, const network *net, const cache *c, const work *w, int rows, float *contexts,
                        float *logits, const sampler *how, const float *uniforms, size_t uniforms_stride, int64_t *s1,
                        int64_t *s2) {
    int d = net->blocks.width;
    matmul(who, &net->head_s1, contexts, d, rows, logits, net->s1_size, SET);
    meet(who);
    choose_rows(who, how, w, logits, rows, net->s1_size, uniforms, uniforms_stride, s1);
    ask(who, net, c, w, rows, s1);
    matmul(who, &net->dep_out, w->heard, d, rows, contexts, d, ADD);
    meet(who);
    const float *merged = normed(who, w, contexts, rows, d, net->blocks.eps, net->dep_norm);
    matmul(who, &net->head_s2, merged, d, rows, logits, net->s2_size, SET);
    meet(who);
    choose_rows(who, how, w, logits, rows, net->s2_size, uniforms + 1, uniforms_stride, s2);
}

typedef struct {
    const network *net;
    const cache *c, *after; /* before and after the newest bars */
    const work *w;
    int rows, count;
    const int64_t *s1, *s2;
    const float *times;
    size_t times_stride;
    float *contexts, *logits;
    const sampler *how;
    const float *uniforms;
    size_t uniforms_stride;
    int64_t *new1, *new2;
} writing;

static void next_job(void *what, team who) {
    const writing *n = what;
    const work *w = n->w;
    int d = n->net->blocks.width, first, stop;
    if (n->count) {
        embed(who, n->net, n->c, w, n->rows, n->count, n->s1, n->s2, n->times, n->times_stride);
        meet(who);
        follow(who, &n->net->blocks, n->c, w, n->rows, n->count, 0);
        share(n->rows * n->count, who, &first, &stop);
        for (int m = first; m < stop; m++)
            norm_row(w->x + (size_t)m * d, d, n->net->blocks.eps, n->net->norm, w->normed + (size_t)m * d);
        meet(who);
        share(n->rows, who, &first, &stop);
        for (int r = first; r < stop; r++)
            memcpy(n->contexts + (size_t)r * d, w->normed + ((size_t)(r + 1) * n->count - 1) * d, sizeof(float) * d);
        remember(who, n->net, n->c, w, n->rows, n->count, w->normed);
    }
    choose_both(who, n->net, n->after, w, n->rows, n->contexts, n->logits, n->how, n->uniforms, n->uniforms_stride,
                n->new1, n->new2);
}

/* Read the newest bars (rows, count) and choose the bars after them; with count 0 choose straight from `contexts`
 * (rows, d), which are overwritten. The caller counts what was read. */
EXPORT void kronos_next(const network *net, const cache *c, const work *w, int threads, int rows, int count,
                        const int64_t *s1, const int64_t *s2, const float *times, size_t times_stride, float *contexts,
                        float *logits, const sampler *how, const float *uniforms, size_t uniforms_stride, int64_t *new1,
                        int64_t *new2) {
    cache after = *c;
    after.filled += count;
    together(threads, next_job,
             &(writing){net, c, &after, w, rows, count, s1, s2, times, times_stride, contexts, logits, how, uniforms,
                        uniforms_stride, new1, new2});
}

typedef struct {
    const tokenizer *t;
    const cache *c;
    const work *w;
    int rows, count;
    const int64_t *old1, *old2;
    int64_t *new1, *new2;
    const float *inputs;
    float *codes, *bars;
} coding;

static void encode_job(void *what, team who) {
    const coding *e = what;
    const tokenizer *t = e->t;
    int bits = t->s1_bits + t->s2_bits, first, stop;
    matmul(who, &t->embed, e->inputs, t->inputs, e->count, e->w->x, t->encoder.width, SET);
    meet(who);
    follow(who, &t->encoder, e->c, e->w, 1, e->count, 0);
    matmul(who, &t->to_bits, e->w->x, t->encoder.width, e->count, e->codes, bits, SET);
    meet(who);
    share(e->count, who, &first, &stop);
    for (int m = first; m < stop; m++) {
        int64_t token[2] = {0, 0};
        for (int i = 0; i < bits; i++)
            if (e->codes[(size_t)m * bits + i] > 0)
                token[i >= t->s1_bits] |= (int64_t)1 << (i >= t->s1_bits ? i - t->s1_bits : i);
        e->new1[m] = token[0];
        e->new2[m] = token[1];
    }
}

static void decode_job(void *what, team who) {
    const coding *e = what;
    const tokenizer *t = e->t;
    int bits = t->s1_bits + t->s2_bits, m = e->rows * e->count, first, stop;
    float size = 1.0f / sqrtf((float)bits);
    share(m, who, &first, &stop);
    for (int r = first; r < stop; r++)
        for (int i = 0; i < bits; i++) {
            int64_t bit = i < t->s1_bits ? e->old1[r] >> i & 1 : e->old2[r] >> (i - t->s1_bits) & 1;
            e->codes[(size_t)r * bits + i] = bit ? size : -size;
        }
    meet(who);
    matmul(who, &t->from_bits, e->codes, bits, m, e->w->x, t->decoder.width, SET);
    meet(who);
    follow(who, &t->decoder, e->c, e->w, e->rows, e->count, !e->bars);
    if (e->bars) matmul(who, &t->head, e->w->x, t->decoder.width, m, e->bars, t->inputs, SET);
}

/* Tokens of one window of normalised bars (length, inputs). `c` has one row and nothing before. */
EXPORT void kronos_encode(const tokenizer *t, const cache *c, const work *w, int threads, int length, const float *bars,
                          float *signs, int64_t *s1, int64_t *s2) {
    together(threads, encode_job, &(coding){t, c, w, 1, length, 0, 0, s1, s2, bars, signs, 0});
}

/* Decode (rows, count) tokens behind what the cache holds into (rows * count, inputs); without `bars` they are a
 * look-back that is only read. */
EXPORT void kronos_decode(const tokenizer *t, const cache *c, const work *w, int threads, int rows, int count,
                          const int64_t *s1, const int64_t *s2, float *codes, float *bars) {
    together(threads, decode_job, &(coding){t, c, w, rows, count, s1, s2, 0, 0, 0, codes, bars});
}
