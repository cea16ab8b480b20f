/* Matrix products y = x W' with weights that were packed once.
 *
 * A matrix (n outputs, k inputs) is packed into panels of PANEL outputs: for each input, PANEL neighbouring outputs lie
 * together. A tile takes up to six rows of x through a panel and keeps its sums in registers. Weights may be held as
 * float32, as bfloat16, or as int8 with a scale for each output; sums are always float32. The same tiles serve
 * attention, whose keys and values are kept as panels too. */
#ifndef KRONOS_MATMUL_H
#define KRONOS_MATMUL_H

#include "team.h"
#include "vector.h"

enum { FLOAT32, BFLOAT16, INT8 };
enum { ROWS = 6 }; /* rows of a tile */

typedef struct {
    int n, k, type;
    const void *weight;        /* panels */
    const float *bias, *scale; /* (n padded to PANEL) each, or null */
} linear;

INLINE size_t type_bytes(int type) { return type == FLOAT32 ? 4 : type == BFLOAT16 ? 2 : 1; }

INLINE vec load_weight(const char *p, size_t at, const int type) {
    if (type == FLOAT32) return load((const float *)p + at);
    return type == BFLOAT16 ? widen_half((const uint16_t *)p + at) : widen_byte((const int8_t *)p + at);
}

/* out (rows, panels * PANEL) = x (rows, k) times `panels` panels.
 *
 * Several tiles of rows take one panel each, and the first would find it in far memory. So each tile sends for a part of
 * what comes next, from `ahead` on: a line of memory every 2^slowly inputs. */
INLINE void tile(const int rows, const int panels, const int type, const float *x, size_t x_stride, const char *w,
                 size_t panel_bytes, int k, float *out, size_t out_stride, const char *ahead, int slowly) {
    vec sums[ROWS][8];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int c = 0; c < 2 * panels; c++) sums[r][c] = (vec){0};
    const size_t line = PANEL * (type == FLOAT32 ? 4 : type == BFLOAT16 ? 2 : 1);
    for (int i = 0; i < k; i++) {
        vec b[8];
        if (panels == 1 && rows > 2) __builtin_prefetch(ahead + (size_t)(i >> slowly) * line, 0, 2);
#pragma GCC unroll 8
        for (int c = 0; c < 2 * panels; c++)
            b[c] = load_weight(w + (c / 2) * panel_bytes, (size_t)i * PANEL + (c % 2) * LANES, type);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
            for (int c = 0; c < 2 * panels; c++) sums[r][c] += b[c] * x[r * x_stride + i];
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int c = 0; c < 2 * panels; c++) store(out + r * out_stride + c * LANES, sums[r][c]);
}

typedef void (*tile_function)(const float *, size_t, const char *, size_t, int, float *, size_t, const char *, int);

#define TILE(NAME, ROWS_, PANELS_, TYPE_)                                                                             \
    static void NAME(const float *x, size_t xs, const char *w, size_t pb, int k, float *out, size_t os,               \
                     const char *ahead, int slowly) {                                                                 \
        tile(ROWS_, PANELS_, TYPE_, x, xs, w, pb, k, out, os, ahead, slowly);                                         \
    }
#define TILES(SUFFIX, TYPE_)                                                                                          \
    TILE(tile_1x4_##SUFFIX, 1, 4, TYPE_)                                                                              \
    TILE(tile_2x2_##SUFFIX, 2, 2, TYPE_)                                                                              \
    TILE(tile_1_##SUFFIX, 1, 1, TYPE_)                                                                                \
    TILE(tile_2_##SUFFIX, 2, 1, TYPE_)                                                                                \
    TILE(tile_3_##SUFFIX, 3, 1, TYPE_)                                                                                \
    TILE(tile_4_##SUFFIX, 4, 1, TYPE_)                                                                                \
    TILE(tile_5_##SUFFIX, 5, 1, TYPE_)                                                                                \
    TILE(tile_6_##SUFFIX, 6, 1, TYPE_)
#define ROW_TILES(S) {0, tile_1_##S, tile_2_##S, tile_3_##S, tile_4_##S, tile_5_##S, tile_6_##S}
/* one row alone takes four panels at once, two take two: fewer sums would wait for each other */
#define WIDE_TILES(S) {0, tile_1x4_##S, tile_2x2_##S}

TILES(f, FLOAT32)
TILES(h, BFLOAT16)
TILES(b, INT8)
static const tile_function TILE_OF[3][ROWS + 1] = {ROW_TILES(f), ROW_TILES(h), ROW_TILES(b)};
static const tile_function WIDE_TILE_OF[3][3] = {WIDE_TILES(f), WIDE_TILES(h), WIDE_TILES(b)};

/* how many of the rows left the next tile takes: all sixes but for the end, which is split evenly */
INLINE int next_rows(int left) {
    if (left <= ROWS) return left;
    return left < 2 * ROWS ? (left + 1) / 2 : ROWS;
}

enum { SET, ADD, GATE };

INLINE vec scaled(const linear *l, int column, vec v) {
    if (l->scale) v *= load(l->scale + column);
    if (l->bias) v += load(l->bias + column);
    return v;
}

/* PANEL ready outputs, or the first of them, go to their place */
INLINE void put(float *to, const float *ready, int width, int how) {
    if (width >= PANEL) {
        for (int c = 0; c < PANEL; c += LANES)
            store(to + c, how == ADD ? load(to + c) + load(ready + c) : load(ready + c));
    } else {
        for (int c = 0; c < width; c++) to[c] = how == ADD ? to[c] + ready[c] : ready[c];
    }
}

/* sums (rows, panels * PANEL) of the panels from column `column` on get their scale and bias and go where they belong */
static void finish(const linear *l, int how, float *sums, int rows, int panels, int column, float *y,
                   size_t y_stride) {
    size_t stride = (size_t)panels * PANEL;
    int step = how == GATE ? 2 : 1; /* a gate's panels come in pairs, its outputs do not */
    int n = how == GATE ? (int)y_stride : l->n;
    for (int r = 0; r < rows; r++)
        for (int p = 0; p < panels; p += step) {
            int at = column + p * PANEL, to = at / step;
            float *ready = sums + r * stride + p * PANEL;
            if (l->scale || l->bias || how == GATE)
                for (int c = 0; c < PANEL; c += LANES) {
                    vec v = scaled(l, at + c, load(ready + c));
                    if (how == GATE) v = silu_of(v) * scaled(l, at + PANEL + c, load(ready + PANEL + c));
                    store(ready + c, v);
                }
            put(y + r * y_stride + to, ready, n - to, how);
        }
}

enum { WIDE_ENOUGH = 2048 }; /* inputs of a panel that is widened beforehand */

static _Thread_local float wide[2 * WIDE_ENOUGH * PANEL];

/* Panels of few bits as float32, for when many rows meet them. */
static const char *widened(const linear *l, const char *w, int count) {
    for (size_t i = 0; i < (size_t)count * l->k * PANEL; i += LANES) store(wide + i, load_weight(w, i, l->type));
    return (const char *)wide;
}

/* What this thread claims of y (m, n) = x (m, k) W', or of y += x W', or of y (m, n / 2) = silu(x W1') * (x W3') where
 * the panels of W1 and W3 alternate. */
static void matmul(team who, const linear *l, const float *x, size_t x_stride, int m, float *y, size_t y_stride,
                   int how) {
    enum { MOST = 144 }; /* rows whose inputs stay in the second cache while the panels pass by */
    int blocks = (m + MOST - 1) / MOST, each = round_up((m + blocks - 1) / blocks, ROWS);
    int panels = round_up(l->n, PANEL) / PANEL;
    int unit = m == 1 ? 4 : m == 2 || how == GATE ? 2 : 1, units = (panels + unit - 1) / unit;
    size_t bytes = (size_t)l->k * PANEL * type_bytes(l->type);
    float sums[ROWS * 4 * PANEL];
    for (int first, stop; claim(units, who, &first, &stop);)
        for (int block = 0; block < m; block += each) {
            int end = block + each < m ? block + each : m, tiles = (end - block + ROWS - 1) / ROWS;
            int slowly = tiles >= 8 ? 3 : tiles >= 4 ? 2 : tiles >= 2 ? 1 : 0;
            size_t part = bytes >> slowly; /* of the next panel, for each tile of rows to send for */
            for (int u = first; u < stop; u++) {
                int panel = u * unit, count = panels - panel < unit ? panels - panel : unit;
                const char *w = (const char *)l->weight + panel * bytes, *ahead = w + count * bytes;
                size_t stride = (size_t)count * PANEL, apart = bytes;
                int type = l->type;
                if (type != FLOAT32 && end - block > 2 * ROWS && l->k <= WIDE_ENOUGH) {
                    w = widened(l, w, count);
                    apart = (size_t)l->k * PANEL * 4;
                    type = FLOAT32;
                }
                for (int r = block, rows; r < end; r += rows) {
                    rows = next_rows(end - r);
                    const float *from = x + r * x_stride;
                    if (count == unit && m <= 2 && unit * m == 4) {
                        WIDE_TILE_OF[type][m](from, x_stride, w, apart, l->k, sums, stride, w, 0);
                    } else {
                        for (int p = 0; p < count; p++)
                            TILE_OF[type][rows](from, x_stride, w + p * apart, apart, l->k, sums + p * PANEL, stride,
                                                ahead + p * bytes + (r - block) / ROWS * part, slowly);
                    }
                    finish(l, how, sums, rows, count, panel * PANEL, y + r * y_stride, y_stride);
                }
            }
        }
}

#endif
