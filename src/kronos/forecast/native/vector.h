/* Vectors as wide as the processor's, and the few functions that the kernels need of them.
 *
 * GCC's and Clang's vector extensions: the same text serves AVX2, AVX-512, NEON and plain SSE. Only to widen small
 * numbers are the processor's own instructions named, because compilers miss them. */
#ifndef KRONOS_VECTOR_H
#define KRONOS_VECTOR_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

#define LANES (VECTOR_BYTES / 4)
#define PANEL (2 * LANES) /* columns of a weight panel: two vectors */
#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(VECTOR_BYTES)));
typedef int32_t ivec __attribute__((vector_size(VECTOR_BYTES)));
typedef uint32_t uvec __attribute__((vector_size(VECTOR_BYTES)));
/* as they lie in memory: of no particular alignment */
typedef float loose_vec __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef uint16_t loose_half __attribute__((vector_size(VECTOR_BYTES / 2), aligned(2), may_alias));
typedef int8_t loose_byte __attribute__((vector_size(VECTOR_BYTES / 4), aligned(1), may_alias));

INLINE vec load(const float *p) { return *(const loose_vec *)p; }
INLINE void store(float *p, vec v) { *(loose_vec *)p = v; }
INLINE vec select_vec(ivec yes, vec a, vec b) { return (vec)(((ivec)a & yes) | ((ivec)b & ~yes)); }
INLINE int round_up(int n, int to) { return (n + to - 1) / to * to; }

INLINE vec widen_half(const uint16_t *p) {
#if defined(__AVX512F__)
    return (vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p)), 16);
#elif defined(__AVX2__)
    return (vec)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p)), 16);
#else
    return (vec)(__builtin_convertvector(*(const loose_half *)p, uvec) << 16);
#endif
}

INLINE vec widen_byte(const int8_t *p) {
#if defined(__AVX512F__)
    return (vec)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)p)));
#elif defined(__AVX2__)
    return (vec)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)p)));
#else
    return __builtin_convertvector(__builtin_convertvector(*(const loose_byte *)p, ivec), vec);
#endif
}

INLINE float sum_of(vec v) {
    float total = 0;
    for (int i = 0; i < LANES; i++) total += v[i];
    return total;
}

/* the highest of n numbers, n a multiple of LANES */
static float highest_of(const float *x, int n) {
    vec top = load(x);
    for (int i = LANES; i < n; i += LANES) {
        vec v = load(x + i);
        top = select_vec(v > top, v, top);
    }
    float best = top[0];
    for (int i = 1; i < LANES; i++) best = top[i] > best ? top[i] : best;
    return best;
}

/* exp to about two units in the last place; below -87 it is 0, as for minus infinity */
INLINE vec exp_of(vec x) {
    const float log2e = 1.44269504088896341f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    const vec zero = {0};
    ivec gone = x < -87.0f;
    x = select_vec(gone, zero, x);
    vec n = (x * log2e + magic) - magic;
    vec r = x - n * ln2_high;
    r = r - n * ln2_low;
    vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    vec power = (vec)((__builtin_convertvector(n, ivec) + 127) << 23);
    return select_vec(gone, zero, p * power);
}

INLINE vec silu_of(vec x) { return x / (1.0f + exp_of(-x)); }

#endif
