/* Vectors of LANES numbers, the widest vectors of the processor: types, shuffles and functions. */

#if defined(__AVX512F__)
#define LANES 16
/* a0 b0 a1 b1 ... of two vectors: their lower halves interleaved */
#define LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif defined(__AVX__)
#define LANES 8
#define LOW 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define LANES 4
#define LOW 0, 4, 1, 5
#define HIGH 2, 6, 3, 7
#endif

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef vec loose __attribute__((aligned(4), may_alias)); /* a vector at any address */
typedef int ivec __attribute__((vector_size(4 * LANES)));
#define INLINE static inline __attribute__((always_inline))
#define EACH_VECTOR(p, width) for (int p = 0; p < (width); p += LANES)
/* UNROLL stands before a loop of constant length, so that sums stay in registers. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define UNROLL _Pragma("GCC unroll 16")
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (ivec){__VA_ARGS__})
#endif

INLINE vec splat(float x) { return x - (vec){0}; }

INLINE vec pick(ivec mask, vec yes, vec no) {
    return (vec)((mask & (ivec)yes) | (~mask & (ivec)no));
}

INLINE int least(long a, long b) { return (int)(a < b ? a : b); }
INLINE int most(int a, int b) { return a > b ? a : b; }

/* a b + c, rounded once: one instruction if the processor has it. A plain a * b + c is rounded twice
   everywhere, because FLAGS (variants.py) forbid contraction. */
#if defined(__x86_64__) && !defined(__FMA__)
/* The function of the C library takes 30 times as long. The product is exact in double. The sum
   is rounded to odd: toward 0, and its last bit is set if it is not exact. Then rounding to float
   gives the same as rounding the exact sum (Boldo and Melquiond 2008). */
typedef double pair __attribute__((vector_size(16)));
typedef long long bits_of_pair __attribute__((vector_size(16)));
INLINE vec fused(vec a, vec b, vec c) {
    UNROLL for (int l = 0; l < LANES; l += 2) {
        const pair x = {a[l], a[l + 1]}, y = {b[l], b[l + 1]}, z = {c[l], c[l + 1]};
        const pair product = x * y, sum = product + z, added = sum - product;
        const pair error = (product - (sum - added)) + (z - added), side = error * sum;
        const bits_of_pair beyond = side < 0.0, inexact = beyond | (side > 0.0); /* -1 if true */
        const pair odd = (pair)(((bits_of_pair)sum + beyond) | (inexact & 1));
        c[l] = (float)odd[0], c[l + 1] = (float)odd[1];
    }
    return c;
}
#else
INLINE vec fused(vec a, vec b, vec c) {
    UNROLL for (int l = 0; l < LANES; l++) c[l] = __builtin_fmaf(a[l], b[l], c[l]);
    return c;
}
#endif

/* x, or a NaN that has the same bits on every machine. */
INLINE float sane(float x) { return x == x ? x : __builtin_nanf(""); }

/* A sum over points consists of STRANDS sums over every 16th point, which are added in a fixed
   order. So it does not depend on the width of a vector. */
#define STRANDS 16
typedef struct { vec at[STRANDS / LANES]; } Strands;
/* The width of a tile of `count` points. */
INLINE int padded(int count) { return (count + STRANDS - 1) / STRANDS * STRANDS; }
#define EACH_STRAND(v, p, width)                  \
    UNROLL for (int v = 0; v < STRANDS / LANES; v++) \
        for (int p = v * LANES; p < (width); p += STRANDS)

INLINE float folded(Strands sum) {
    float s[STRANDS];
    memcpy(s, sum.at, sizeof s);
    UNROLL for (int n = STRANDS / 2; n; n /= 2)
        UNROLL for (int l = 0; l < n; l++) s[l] += s[l + n];
    return s[0];
}

/* LANES sums at once, each folded in the same order: lane i is sum i. */
INLINE vec folded_together(const Strands *sums) {
    vec v[LANES];
    UNROLL for (int i = 0; i < LANES; i++) {
        Strands s = sums[i];
        UNROLL for (int n = STRANDS / LANES / 2; n; n /= 2)
            UNROLL for (int k = 0; k < n; k++) s.at[k] += s.at[k + n];
        v[i] = s.at[0];
    }
    UNROLL for (int n = LANES / 2; n; n /= 2)
        UNROLL for (int i = 0; i < n; i++)
            v[i] = SHUFFLE(v[i], v[i + n], LOW) + SHUFFLE(v[i], v[i + n], HIGH);
    return v[0];
}

/* out[p][i] = in[i][p], LANES by LANES, by log2(LANES) perfect shuffles of the rows. */
INLINE void transpose_block(float *out, int out_pitch, const float *in, int pitch) {
    vec v[LANES], w[LANES];
    UNROLL for (int i = 0; i < LANES; i++) v[i] = *(const loose *)(in + (long)i * pitch);
    UNROLL for (int stage = 1; stage < LANES; stage *= 2) {
        UNROLL for (int i = 0; i < LANES; i += 2) {
            const vec upper = v[i / 2], lower = v[i / 2 + LANES / 2];
            w[i] = SHUFFLE(upper, lower, LOW), w[i + 1] = SHUFFLE(upper, lower, HIGH);
        }
        UNROLL for (int i = 0; i < LANES; i++) v[i] = w[i];
    }
    UNROLL for (int i = 0; i < LANES; i++) *(loose *)(out + (long)i * out_pitch) = v[i];
}

/* e^x, with x limited to +-87: x = n ln 2 + r, e^x = 2^n e^r, and a polynomial for e^r on
   |r| <= ln 2 / 2; accurate to one or two units in the last place. */
INLINE vec exponential(vec x) {
    const vec magic = splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to a whole number */
    x = pick(x > 87.0f, splat(87.0f), pick(x < -87.0f, splat(-87.0f), x));
    const vec n = fused(x, splat(1.44269504f), magic) - magic;
    const vec r = fused(n, splat(-1.42860677e-6f), fused(n, splat(-0.693145752f), x));
    static const float c[] = {1.0f / 720.0f, 1.0f / 120.0f, 1.0f / 24.0f, 1.0f / 6.0f,
                              0.5f, 1.0f, 1.0f};
    vec e = splat(1.0f / 5040.0f);
    UNROLL for (int k = 0; k < 7; k++) e = fused(e, r, splat(c[k]));
    return e * (vec)((__builtin_convertvector(n, ivec) + 127) << 23);
}

/* log x for a positive, normal x: x = 2^n m with m in [sqrt(1/2), sqrt(2)), log x = n ln 2 + log m,
   and with f = (m - 1) / (m + 1) the series log m = 2 (f + f^3 / 3 + f^5 / 5 + ...), |f| < 0.172. A
   NaN stays a NaN. */
INLINE vec logarithm(vec x) {
    const ivec bits = (ivec)x - 0x3f3504f3; /* sqrt(1/2) */
    const vec n = __builtin_convertvector(bits >> 23, vec);
    const vec m = (vec)((bits & 0x007fffff) + 0x3f3504f3);
    const vec f = (m - 1.0f) / (m + 1.0f), square = f * f;
    static const float c[] = {2.0f / 7.0f, 2.0f / 5.0f, 2.0f / 3.0f, 2.0f};
    vec series = splat(2.0f / 9.0f);
    UNROLL for (int k = 0; k < 4; k++) series = fused(series, square, splat(c[k]));
    return pick(x == x, fused(n, splat(0.693147181f), f * series), x);
}

/* log(1 + e^u) */
INLINE vec softplus(vec u) {
    const vec size = pick(u < 0, -u, u);
    return pick(u < 0, splat(0.0f), u) + logarithm(1.0f + exponential(-size));
}

/* tanh(u) = (1 - e) / (1 + e), e = exp(-2 u); within 1e-7 */
INLINE vec hyperbolic_tangent(vec u) {
    const vec e = exponential(-2.0f * pick(u < -40.0f, splat(-40.0f), u));
    return (1.0f - e) / (1.0f + e);
}
