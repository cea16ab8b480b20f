/* Attention over what a series' paths have in common and over what each of them has added.
 *
 * Keys are kept as panels of PANEL bars: for each coordinate, PANEL neighbouring bars lie together, so that scores are
 * tiles of a product. Values are kept as panels of PANEL coordinates, bar after bar, so that sums over bars are tiles
 * too. */
#ifndef KRONOS_ATTENTION_H
#define KRONOS_ATTENTION_H

#include "matmul.h"

typedef struct {
    int heads, width;
    float *shared_keys, *shared_values; /* of every (series, head): room for `shared_room` bars */
    float *own_keys, *own_values;       /* of every (row, head): room for `own_room` bars */
} layer_cache;

typedef struct {
    int paths, filled, limit, shared_room, own_room; /* rooms are multiples of PANEL */
    const int32_t *lengths;                          /* of each series' look-back */
    layer_cache *layers;
} cache;

typedef struct {
    const float *keys, *values;
    int room, first, stop; /* bars first .. stop - 1 are seen */
} part;

INLINE size_t key_size(const layer_cache *l, int room) { return (size_t)room * l->width; }
INLINE size_t value_size(const layer_cache *l, int room) { return (size_t)room * round_up(l->width, PANEL); }

/* turn by an angle: first half with second half; `scale` is put on top */
static void turn(float *x, int width, const float *cosines, const float *sines, float scale) {
    int half = width / 2, i = 0;
    for (; i + LANES <= half; i += LANES) {
        vec a = load(x + i), b = load(x + i + half), c = load(cosines + i) * scale, s = load(sines + i) * scale;
        store(x + i, a * c - b * s);
        store(x + i + half, b * c + a * s);
    }
    for (; i < half; i++) {
        float a = x[i], b = x[i + half];
        x[i] = (a * cosines[i] - b * sines[i]) * scale;
        x[i + half] = (b * cosines[i] + a * sines[i]) * scale;
    }
}

static void keep(float *keys, float *values, int room, int width, int at, const float *key, const float *value) {
    float *k = keys + (size_t)(at / PANEL) * PANEL * width + at % PANEL;
    for (int i = 0; i < width; i++) k[(size_t)i * PANEL] = key[i];
    for (int p = 0; p < width; p += PANEL) {
        float *v = values + (size_t)p * room + (size_t)at * PANEL;
        int count = width - p < PANEL ? width - p : PANEL;
        for (int i = 0; i < count; i++) v[i] = value[p + i];
    }
}

/* scores (rows, ...) of the bars of a part, whole panels from the one of `first` on; what is not seen is -infinity */
static int score(const part *p, int rows, const float *queries, size_t stride, int width, float *scores, int room) {
    int from = p->first / PANEL * PANEL, count = p->stop > p->first ? round_up(p->stop, PANEL) - from : 0;
    size_t bytes = (size_t)width * PANEL * 4;
    for (int t = 0; t < count;) {
        const char *keys = (const char *)(p->keys + (size_t)(from + t) * width);
        if (rows == 1 && t + 4 * PANEL <= count) {
            WIDE_TILE_OF[FLOAT32][1](queries, stride, keys, bytes, width, scores + t, room, keys, 0);
            t += 4 * PANEL;
        } else {
            TILE_OF[FLOAT32][rows](queries, stride, keys, bytes, width, scores + t, room, keys + bytes, 0);
            t += PANEL;
        }
    }
    for (int r = 0; r < rows && count; r++) {
        for (int t = 0; t < p->first - from; t++) scores[(size_t)r * room + t] = -INFINITY;
        for (int t = p->stop - from; t < count; t++) scores[(size_t)r * room + t] = -INFINITY;
    }
    return count;
}

/* out (rows, width padded) += weights of a part's bars times their values */
static void gather(const part *p, int rows, const float *weights, int room, int width, float *out, int out_room) {
    if (p->stop <= p->first) return;
    float sums[ROWS * 4 * PANEL];
    int bars = p->stop - p->first;
    weights += p->first % PANEL;
    for (int c = 0, wide; c < width; c += wide) {
        const char *values = (const char *)(p->values + (size_t)c * p->room + (size_t)p->first * PANEL);
        wide = rows == 1 && c + 4 * PANEL <= width ? 4 * PANEL : PANEL;
        if (wide > PANEL)
            WIDE_TILE_OF[FLOAT32][1](weights, room, values, (size_t)p->room * PANEL * 4, bars, sums, wide, values, 0);
        else
            TILE_OF[FLOAT32][rows](weights, room, values, 0, bars, sums, wide, values + (size_t)p->room * PANEL * 4, 0);
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < wide; i += LANES) {
                float *to = out + r * out_room + c + i;
                store(to, load(to) + load(sums + r * wide + i));
            }
    }
}

/* scores (count) become weights; their sum is left to be divided by */
static float soften(float *scores, int count) {
    float highest = highest_of(scores, count);
    vec total = {0};
    for (int t = 0; t < count; t += LANES) {
        vec v = exp_of(load(scores + t) - highest);
        store(scores + t, v);
        total += v;
    }
    return sum_of(total);
}

/* Up to ROWS queries of one head: over `common`, and each over its own part (one and the same where `alike`).
 * With `causal`, query r sees `rows - 1 - r` bars fewer of its own part. */
static void attend(int rows, const float *queries, size_t query_stride, int width, const part *common,
                   const part *own, int alike, int causal, float *scratch, float *out, size_t out_stride) {
    int padded = round_up(width, PANEL);
    int room = round_up(common->stop > common->first ? common->stop - common->first / PANEL * PANEL : 0, PANEL) +
               round_up(own->stop > own->first ? own->stop - own->first / PANEL * PANEL : 0, PANEL);
    float *scores = scratch, *sums = scratch + (size_t)ROWS * room;
    int seen = score(common, rows, queries, query_stride, width, scores, room), grown = 0;
    if (alike) {
        grown = score(own, rows, queries, query_stride, width, scores + seen, room);
        for (int r = 0; causal && r < rows; r++) {
            int last = own->stop - own->first / PANEL * PANEL - (rows - 1 - r);
            for (int t = last; t < grown; t++) scores[(size_t)r * room + seen + t] = -INFINITY;
        }
    } else {
        for (int r = 0; r < rows; r++)
            grown = score(own + r, 1, queries + r * query_stride, 0, width, scores + (size_t)r * room + seen, room);
    }
    memset(sums, 0, sizeof(float) * ROWS * padded);
    float total[ROWS];
    for (int r = 0; r < rows; r++) total[r] = soften(scores + (size_t)r * room, seen + grown);
    gather(common, rows, scores, room, width, sums, padded);
    if (alike) {
        gather(own, rows, scores + seen, room, width, sums, padded);
    } else {
        for (int r = 0; r < rows; r++)
            gather(own + r, 1, scores + (size_t)r * room + seen, room, width, sums + r * padded, padded);
    }
    for (int r = 0; r < rows; r++) {
        float part_of = 1.0f / total[r], *to = out + r * out_stride;
        int i = 0;
        for (; i + LANES <= width; i += LANES) store(to + i, load(sums + r * padded + i) * part_of);
        for (; i < width; i++) to[i] = sums[r * padded + i] * part_of;
    }
}

#endif
