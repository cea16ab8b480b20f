/* From logits to a token, as forecast/sampling.py defines it, without sorting. */
#ifndef KRONOS_SAMPLING_H
#define KRONOS_SAMPLING_H

#include "vector.h"

typedef struct {
    float temperature, top_p;
    int top_k, greedy;
} sampler;

/* whole numbers in the order of the floats, and back */
INLINE int32_t rank_of_bits(int32_t bits) { return bits < 0 ? (int32_t)(0x80000000u - (uint32_t)bits) : bits; }
INLINE float float_of(int32_t rank) {
    int32_t bits = rank_of_bits(rank);
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

/* All of these run over n numbers, n a multiple of LANES. */

static int count_from(const float *x, int n, float bound) {
    ivec count = {0};
    for (int i = 0; i < n; i += LANES) count -= (ivec)(load(x + i) >= bound);
    int total = 0;
    for (int i = 0; i < LANES; i++) total += count[i];
    return total;
}

/* the sum of the numbers above a bound */
static float mass_above(const float *p, int n, float bound) {
    vec total = {0}, other = {0};
    const vec zero = {0};
    int i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        vec a = load(p + i), b = load(p + i + LANES);
        total += select_vec(a > bound, a, zero);
        other += select_vec(b > bound, b, zero);
    }
    for (; i < n; i += LANES) {
        vec a = load(p + i);
        total += select_vec(a > bound, a, zero);
    }
    return sum_of(total + other);
}

/* The k-th largest, by halving the range of the floats: at least k numbers are as large as `low`. */
static float kth_largest(const float *x, int n, int k) {
    int64_t low = rank_of_bits((int32_t)0xFF800000u), high = 0x7F800000;
    while (low < high) {
        int64_t middle = low + (high - low + 1) / 2;
        if (count_from(x, n, float_of((int32_t)middle)) >= k)
            low = middle;
        else
            high = middle - 1;
    }
    return float_of((int32_t)low);
}

/* Set to 0 what top_p drops of weights p: a token stays while the mass before it is at most `limit`. */
static void keep_nucleus(float *p, int n, float limit) {
    int32_t low = 0, high = 0x3F800000; /* weights are at most 1, and the mass above `high` is within the limit */
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (mass_above(p, n, float_of(middle)) <= limit)
            high = middle;
        else
            low = middle + 1;
    }
    float last = float_of(high); /* the smallest weight that may stay; of its equals the first ones do */
    float before = mass_above(p, n, last);
    for (int i = 0; i < n; i++) {
        if (p[i] > last) continue;
        int stays = p[i] == last && before <= limit;
        before += stays ? p[i] : 0;
        p[i] = stays ? p[i] : 0;
    }
}

/* The token of logits (n) that a uniform number chooses; `p` is room for n floats, padded to whole vectors. */
static int choose(const sampler *how, const float *logits, int n, float uniform, float *p) {
    int padded = round_up(n, LANES), last = 0;
    for (int i = 0; i < n; i++) p[i] = logits[i] / how->temperature;
    for (int i = n; i < padded; i++) p[i] = -INFINITY;
    float top = highest_of(p, padded);
    if (how->greedy) {
        while (last < n - 1 && p[last] != top) last++;
        return last;
    }
    float floor = how->top_k && how->top_k < n ? kth_largest(p, padded, how->top_k) : -INFINITY;
    const vec nothing = (vec){0} - INFINITY;
    for (int i = 0; i < padded; i += LANES) {
        vec v = load(p + i);
        store(p + i, exp_of(select_vec(v >= floor, v - top, nothing)));
    }
    if (how->top_p < 1) keep_nucleus(p, padded, how->top_p * mass_above(p, padded, 0));
    double target = 0, sum = 0;
    for (int i = 0; i < n; i++) target += p[i];
    target *= uniform;
    for (int i = 0; i < n && sum <= target; i++) {
        if (p[i] > 0) last = i;
        sum += p[i];
    }
    return last;
}

#endif
