/* Transformer blocks over a cache, for a team of threads that walk through them together. */
#ifndef KRONOS_BLOCKS_H
#define KRONOS_BLOCKS_H

#include "attention.h"

typedef struct {
    linear qkv, out, gate, down;
} block;

typedef struct {
    int count, width, hidden, heads;
    float eps;
    const block *blocks;
    const float *cosines, *sines; /* (positions, head width / 2) */
} stack;

typedef struct {
    float *x;      /* (m, d) what flows through */
    float *normed; /* (m, d) */
    float *joint;  /* (m, 3 d) */
    float *heard;  /* (m, d) */
    float *hidden; /* (m, ff) */
    float *scratch;
    size_t scratch_size; /* floats of each thread */
} work;

enum { ALONE = 8 }; /* so few rows every thread norms for itself, which is cheaper than to meet */

static void norm_row(const float *x, int width, float eps, const float *weight, float *out) {
    float squares = 0;
    vec sum = {0};
    int i = 0;
    for (; i + LANES <= width; i += LANES) sum += load(x + i) * load(x + i);
    for (; i < width; i++) squares += x[i] * x[i];
    float factor = 1.0f / sqrtf((squares + sum_of(sum)) / width + eps);
    for (i = 0; i + LANES <= width; i += LANES)
        store(out + i, weight ? load(x + i) * factor * load(weight + i) : load(x + i) * factor);
    for (; i < width; i++) out[i] = weight ? x[i] * factor * weight[i] : x[i] * factor;
}

/* Root-mean-square norms of (m, width), where everybody may read them afterwards. */
static const float *normed(team who, const work *w, const float *x, int m, int width, float eps, const float *weight) {
    if (m <= ALONE) {
        float *own = w->scratch + who.id * w->scratch_size;
        for (int r = 0; r < m; r++) norm_row(x + (size_t)r * width, width, eps, weight, own + (size_t)r * width);
        return own;
    }
    int first, stop;
    share(m, who, &first, &stop);
    for (int r = first; r < stop; r++)
        norm_row(x + (size_t)r * width, width, eps, weight, w->normed + (size_t)r * width);
    meet(who);
    return w->normed;
}

INLINE int largest(int a, int b) { return a > b ? a : b; }

/* The part of a series' look-back, and of a row's own bars after `filled` of them, that the newest bar sees. */
static part common_part(const cache *c, const layer_cache *l, int series, int head, int filled) {
    size_t at = (size_t)series * l->heads + head;
    int length = c->lengths[series], start = largest(length + filled - c->limit, 0);
    return (part){l->shared_keys + at * key_size(l, c->shared_room), l->shared_values + at * value_size(l, c->shared_room),
                  c->shared_room, start, length};
}

static part own_part(const cache *c, const layer_cache *l, int row, int head, int filled) {
    size_t at = (size_t)row * l->heads + head;
    int start = largest(filled - c->limit, 0); /* once the look-back is out of sight */
    return (part){l->own_keys + at * key_size(l, c->own_room), l->own_values + at * value_size(l, c->own_room),
                  c->own_room, start, filled};
}

/* The newest `count` bars of one row and one head, which are behind `filled` others: turned, kept, answered. */
static void self_attention(const stack *s, const cache *c, const layer_cache *l, int series, int row, int head, int count,
                           float *joint, float *heard, float *scratch, int quiet) {
    int width = l->width, wide = s->width;
    float scale = 1.0f / sqrtf((float)width);
    part mine = own_part(c, l, row, head, c->filled + count);
    for (int i = 0; i < count; i++) {
        size_t position = (size_t)(c->lengths[series] + c->filled + i) * (width / 2);
        float *q = joint + (size_t)i * 3 * wide + head * width, *k = q + wide, *v = k + wide;
        turn(q, width, s->cosines + position, s->sines + position, scale);
        turn(k, width, s->cosines + position, s->sines + position, 1.0f);
        keep((float *)mine.keys, (float *)mine.values, c->own_room, width, c->filled + i, k, v);
    }
    if (quiet) return;
    for (int i = 0, rows; i < count; i += rows) {
        rows = next_rows(count - i);
        part common = common_part(c, l, series, head, c->filled + i + rows), own = mine;
        own.stop = c->filled + i + rows;
        attend(rows, joint + (size_t)i * 3 * wide + head * width, (size_t)3 * wide, width, &common, &own, 1, 1, scratch,
               heard + (size_t)i * wide + head * width, wide);
    }
}

/* One new bar of several paths of a series: they ask the look-back together. */
static void step_attention(const stack *s, const cache *c, const layer_cache *l, int series, int first, int rows, int head,
                           float *joint, float *heard, float *scratch) {
    int width = l->width, wide = s->width;
    float scale = 1.0f / sqrtf((float)width);
    size_t position = (size_t)(c->lengths[series] + c->filled) * (width / 2);
    part common = common_part(c, l, series, head, c->filled + 1), own[ROWS];
    for (int r = 0; r < rows; r++) {
        own[r] = own_part(c, l, first + r, head, c->filled + 1);
        float *q = joint + (size_t)(first + r) * 3 * wide + head * width, *k = q + wide, *v = k + wide;
        turn(q, width, s->cosines + position, s->sines + position, scale);
        turn(k, width, s->cosines + position, s->sines + position, 1.0f);
        keep((float *)own[r].keys, (float *)own[r].values, c->own_room, width, c->filled, k, v);
    }
    attend(rows, joint + (size_t)first * 3 * wide + head * width, (size_t)3 * wide, width, &common, own, 0, 0, scratch,
           heard + (size_t)first * wide + head * width, wide);
}

/* Attention of one layer. Work is shared out by (series, a few paths, head). */
static void attention(team who, const stack *s, const cache *c, const layer_cache *l, const work *w, int rows, int count,
                      int quiet) {
    int together = count == 1 ? ROWS : 1, pieces = (c->paths + together - 1) / together;
    int units = (rows + c->paths - 1) / c->paths * pieces * l->heads;
    float *scratch = w->scratch + who.id * w->scratch_size;
    for (int first, stop; claim(units, who, &first, &stop);)
    for (int unit = first; unit < stop; unit++) {
        int head = unit % l->heads, piece = unit / l->heads % pieces, n = unit / l->heads / pieces;
        int path = piece * together, row = n * c->paths + path;
        int some = c->paths - path < together ? c->paths - path : together;
        if (count == 1)
            step_attention(s, c, l, n, row, some, head, w->joint, w->heard, scratch);
        else
            self_attention(s, c, l, n, row, head, count, w->joint + (size_t)row * count * 3 * s->width,
                           w->heard + (size_t)row * count * s->width, scratch, quiet);
    }
}

/* The newest `count` bars of the first `rows` rows, (rows * count, d) in w->x, through all blocks. With `quiet` the last
 * block only keeps keys and values. */
static void follow(team who, const stack *s, const cache *c, const work *w, int rows, int count, int quiet) {
    int m = rows * count, d = s->width;
    for (int layer = 0; layer < s->count; layer++) {
        const block *b = s->blocks + layer;
        int last = quiet && layer == s->count - 1;
        const float *x = normed(who, w, w->x, m, d, s->eps, 0);
        matmul(who, &b->qkv, x, d, m, w->joint, (size_t)3 * d, SET);
        meet(who);
        attention(who, s, c, c->layers + layer, w, rows, count, last);
        meet(who);
        if (last) return;
        matmul(who, &b->out, w->heard, d, m, w->x, d, ADD);
        meet(who);
        x = normed(who, w, w->x, m, d, s->eps, 0);
        matmul(who, &b->gate, x, d, m, w->hidden, s->hidden, GATE);
        meet(who);
        matmul(who, &b->down, w->hidden, s->hidden, m, w->x, d, ADD);
        meet(who);
    }
}

#endif
