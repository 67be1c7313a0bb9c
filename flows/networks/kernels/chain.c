/* The chain of a flow, compiled: values and gradients of couplings, activation normalisations and linear maps, for all members of a
   population; and the optimiser's step.

   What is computed is what flows/bijections computes with torch, which is the definition; tests hold the two together in value and
   gradient. A tile of points goes through the whole chain while it stays in the processor's cache. Of a layer only its input is
   kept for the backward pass (a few features); the hidden activations are computed again from it, which is quicker than memory.

   A tile holds features along rows and points along the lanes of a vector. The conditioner on it, and its gradients:

       H1 = relu(W1 X + b1)    H2 = relu(W2 H1 + b2)    Y = W3 H2 + b3
       D3 = dL/dY              dW3 += D3 H2'    db3 += sum D3
       D2 = W3' D3 [H2 > 0]    dW2 += D2 H1'    db2 += sum D2
       D1 = W2' D2 [H1 > 0]    dW1 += D1 X'     db1 += sum D1
       dL/dX = W1' D1

   Only two products occur: one whose result lies along the lanes (`product`) and one that sums over them (`outer_product`).

   No sum depends on how many threads there are or on how many members: a member's points are cut into a number of parts that
   follows from their count alone, and the parts' gradients are added in order. GCC and Clang compile this for any processor. */

#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif

#define TILE 256 /* most points worked on at a time */
#define PARTS 16 /* most parts that a member's points are cut into */

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int ivec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
#define INLINE static inline __attribute__((always_inline))
/* Before a loop of constant length, so that sums stay in registers. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#define EACH_VECTOR(p, width) for (int p = 0; p < (width); p += LANES)
#define AT(tile, i, p) (*(vec *)((tile) + (long)(i) * (pitch) + (p)))

enum kind { AFFINE_COUPLING, SPLINE_COUPLING, ACTNORM, PLU };

/* One layer of the chain. Tensors are (members, ...), each with its own distance in floats from one member to the next. */
typedef struct {
    int kind;
    int kept, outputs, hidden; /* of a coupling: the sizes of its conditioner */
    int kept_at, changed_at;   /* of a coupling: the first feature of the kept half and of the changed one */
    int bins;                  /* of a spline */
    float bound;               /* of a coupling: of the log-scale, or of the stretch of the axis that the spline bends */
    float least_bin, least_slope, slope_shift; /* of a spline; a raw slope of 0 and the shift give a slope of 1 */
    long gradient;                             /* where the gradients of its parameters start in a member's row */
    const float *tensors[5]; /* coupling: theta. ActNorm: shift, log-scale. PLU: lower, upper, log-diagonal, permutation, sign */
    long strides[5];
} Layer;

/* Points (members, dim, points), and what is done with them. */
typedef struct {
    const Layer *layers;
    int count, members, dim, threads;
    long points, size; /* size: parameters of a member */
} Chain;

INLINE vec splat(float x) { return x - (vec){0}; }
INLINE vec pick(ivec mask, vec yes, vec no) { return (vec)((mask & (ivec)yes) | (~mask & (ivec)no)); }
INLINE int padded(int count) { return (count + LANES - 1) / LANES * LANES; }
INLINE int least(long a, long b) { return (int)(a < b ? a : b); }
INLINE int most(int a, int b) { return a > b ? a : b; }
INLINE int team(int threads, long items) { return items < 1 ? 1 : least(threads, items); } /* how many threads so many items keep busy */

/* From one row of a tile to the next: an odd number of cache lines, or the rows would fight for the same places in the cache. */
INLINE int pitch_of(int width) { return (width + 15) / 16 * 16 + ((width + 15) / 16 % 2 ? 0 : 16); }

/* Products */

/* out[i][p] = bias[i] + sum_j a[i * row + j * column] b[j][p] for `rows` rows and `vecs` vectors of points; relu if asked. */
INLINE void product_block(const int rows, const int vecs, float *out, int pitch, const float *bias, const float *a, long row, long column,
                          const float *b, int b_pitch, int inner, int relu) {
    vec sum[8][2];
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int v = 0; v < vecs; v++) sum[i][v] = splat(bias ? bias[i] : 0.0f);
    for (int j = 0; j < inner; j++) {
        vec points[2];
        UNROLL for (int v = 0; v < vecs; v++) points[v] = *(const vec *)(b + (long)j * b_pitch + v * LANES);
        UNROLL for (int i = 0; i < rows; i++) {
            const vec weight = splat(a[i * row + j * column]);
            UNROLL for (int v = 0; v < vecs; v++) sum[i][v] += weight * points[v];
        }
    }
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int v = 0; v < vecs; v++) {
            if (relu) sum[i][v] = pick(sum[i][v] < 0, (vec){0}, sum[i][v]); /* a NaN is not below 0: it stays */
            AT(out, i, v * LANES) = sum[i][v];
        }
}

INLINE void product_rows(const int rows, float *out, int pitch, const float *bias, const float *a, long row, long column, const float *b,
                         int b_pitch, int inner, int width, int relu) {
    int p = 0;
    for (; p + 2 * LANES <= width; p += 2 * LANES)
        product_block(rows, 2, out + p, pitch, bias, a, row, column, b + p, b_pitch, inner, relu);
    for (; p < width; p += LANES) product_block(rows, 1, out + p, pitch, bias, a, row, column, b + p, b_pitch, inner, relu);
}

static void product(float *out, int pitch, const float *bias, const float *a, long row, long column, const float *b, int b_pitch, int outer,
                    int inner, int width, int relu) {
    int i = 0;
#define ROWS(n)                    \
    for (; i + n <= outer; i += n) \
        product_rows(n, out + (long)i * pitch, pitch, bias ? bias + i : NULL, a + i * row, row, column, b, b_pitch, inner, width, relu);
#if LANES == 16
    ROWS(8) /* 16 sums: as many as fit in the registers of AVX-512 beside the operands; half of that elsewhere */
#endif
    ROWS(4) ROWS(2) ROWS(1)
#undef ROWS
}

/* Two vectors interleaved: a0 b0 a1 b1 ..., first the lower halves, then the upper ones. */
INLINE void interleave(vec a, vec b, vec *low, vec *high) {
#if LANES == 16
#define LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif LANES == 8
#define LOW 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define LOW 0, 4, 1, 5
#define HIGH 2, 6, 3, 7
#endif
#if defined(__clang__)
    *low = __builtin_shufflevector(a, b, LOW);
    *high = __builtin_shufflevector(a, b, HIGH);
#else
    *low = __builtin_shuffle(a, b, (ivec){LOW});
    *high = __builtin_shuffle(a, b, (ivec){HIGH});
#endif
}

/* Lane r of the result is the sum over the lanes of v[r]. */
INLINE vec sums_of_lanes(vec *v) {
    UNROLL for (int n = LANES / 2; n; n /= 2)
        UNROLL for (int i = 0; i < n; i++) {
            vec low, high;
            interleave(v[i], v[i + n], &low, &high);
            v[i] = low + high;
        }
    return v[0];
}

/* out[p][i] = in[i][p], LANES by LANES: as many perfect shuffles of the rows as LANES has bits. */
INLINE void transpose_block(float *out, int out_pitch, const float *in, int pitch) {
    vec v[LANES], w[LANES];
    UNROLL for (int i = 0; i < LANES; i++) v[i] = *(const vec *)(in + (long)i * pitch);
    UNROLL for (int stage = 1; stage < LANES; stage *= 2) {
        UNROLL for (int i = 0; i < LANES / 2; i++) interleave(v[i], v[i + LANES / 2], &w[2 * i], &w[2 * i + 1]);
        UNROLL for (int i = 0; i < LANES; i++) v[i] = w[i];
    }
    UNROLL for (int i = 0; i < LANES; i++) *(vec *)(out + (long)i * out_pitch) = v[i];
}

/* out[i * stride + k] += sum_p a[i][p] b[k][p] for a block: the sums over the lanes come last. */
INLINE void outer_block(const int rows, const int columns, float *out, long stride, const float *a, const float *b, int pitch, int width) {
    vec sum[16] = {{0}};
    EACH_VECTOR(p, width) {
        vec right[4];
        UNROLL for (int k = 0; k < columns; k++) right[k] = AT(b, k, p);
        UNROLL for (int i = 0; i < rows; i++) {
            const vec left = AT(a, i, p);
            UNROLL for (int k = 0; k < columns; k++) sum[i * columns + k] += left * right[k];
        }
    }
    float total[16];
    for (int first = 0; first < rows * columns; first += LANES) *(vec *)(total + first) = sums_of_lanes(sum + first);
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int k = 0; k < columns; k++) out[i * stride + k] += total[i * columns + k];
}

/* out[i][k] += sum_p a[i][p] b[k][p], out (rows, columns) without gaps. Where b has enough rows it is transposed into `scratch`, so
   that the sum over points is a product like any other; `scratch` holds outer_scratch(columns, rows) floats. */
INLINE long outer_scratch(int rows, int columns) { return (long)pitch_of(padded(columns)) * (TILE + rows); }

static void outer_product(float *out, const float *a, const float *b, int pitch, int rows, int columns, int width, float *scratch) {
    if (rows >= 8 && columns >= LANES) {
        const int whole = columns / LANES * LANES, t_pitch = pitch_of(whole);
        float *sums = scratch + (long)t_pitch * TILE;
        for (int k = 0; k < whole; k += LANES)
            EACH_VECTOR(p, width) transpose_block(scratch + (long)p * t_pitch + k, t_pitch, b + (long)k * pitch + p, pitch);
        product(sums, t_pitch, NULL, a, pitch, 1, scratch, t_pitch, rows, width, whole, 0);
        for (int i = 0; i < rows; i++)
            EACH_VECTOR(k, whole) *(vec *)(out + (long)i * columns + k) += *(vec *)(sums + (long)i * t_pitch + k);
        for (int i = 0; i < rows; i++)
            for (int k = whole; k < columns; k++) outer_block(1, 1, out + (long)i * columns + k, 0, a + (long)i * pitch, b + (long)k * pitch, pitch, width);
        return;
    }
    int i = 0;
#define COLUMNS(m, n)                \
    for (; k + n <= columns; k += n) \
        outer_block(m, n, out + (long)i * columns + k, columns, a + (long)i * pitch, b + (long)k * pitch, pitch, width);
#define ROWS(m)                     \
    for (; i + m <= rows; i += m) { \
        int k = 0;                  \
        COLUMNS(m, 4) COLUMNS(m, 1) \
    }
    ROWS(4) ROWS(2) ROWS(1)
#undef ROWS
#undef COLUMNS
}

/* out[i] += sum_p a[i][p] */
static void row_sums(float *out, const float *a, int pitch, int rows, int width) {
    for (int i = 0; i < rows; i += LANES) {
        vec sum[LANES] = {{0}};
        const int n = least(rows - i, LANES);
        for (int r = 0; r < n; r++) EACH_VECTOR(p, width) sum[r] += AT(a, i + r, p);
        const vec sums = sums_of_lanes(sum);
        for (int r = 0; r < n; r++) out[i + r] += sums[r];
    }
}

/* a[i][p] = 0 where h[i][p] is 0: the derivative of relu */
static void mask(float *a, const float *h, int pitch, int rows, int width) {
    for (int i = 0; i < rows; i++) EACH_VECTOR(p, width) AT(a, i, p) = (vec)((ivec)AT(a, i, p) & (AT(h, i, p) != 0));
}

/* Functions */

/* e^x, x cut to +-87: x = n ln 2 + r, e^x = 2^n e^r, and a polynomial for e^r on |r| <= ln 2 / 2; good to the last place or two. */
INLINE vec exponential(vec x) {
    x = pick(x > 87.0f, splat(87.0f), x);
    x = pick(x < -87.0f, splat(-87.0f), x);
    const vec magic = splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to a whole number */
    const vec n = (x * 1.44269504f + magic) - magic;
    const vec r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
    vec e = splat(1.0f / 5040.0f);
    e = e * r + 1.0f / 720.0f;
    e = e * r + 1.0f / 120.0f;
    e = e * r + 1.0f / 24.0f;
    e = e * r + 1.0f / 6.0f;
    e = e * r + 0.5f;
    e = e * r + 1.0f;
    e = e * r + 1.0f;
    return e * (vec)((__builtin_convertvector(n, ivec) + 127) << 23);
}

/* log x for a positive, normal x: x = 2^n m with m in [sqrt(1/2), sqrt(2)), log x = n ln 2 + log m, and with f = (m - 1) / (m + 1) the series
   log m = 2 (f + f^3 / 3 + f^5 / 5 + ...), |f| < 0.172. A NaN stays one. */
INLINE vec logarithm(vec x) {
    const ivec bits = (ivec)x - 0x3f3504f3; /* sqrt(1/2) */
    const vec n = __builtin_convertvector(bits >> 23, vec);
    const vec m = (vec)((bits & 0x007fffff) + 0x3f3504f3), f = (m - 1.0f) / (m + 1.0f), square = f * f;
    vec series = splat(2.0f / 9.0f);
    series = series * square + 2.0f / 7.0f;
    series = series * square + 2.0f / 5.0f;
    series = series * square + 2.0f / 3.0f;
    series = series * square + 2.0f;
    return pick(x == x, n * 0.693147181f + f * series, x);
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

/* Tiles */

/* `rows` rows of `count` points out of rows of `points`. The last vector is filled up with copies of the last point, so that what is
   finite for all points is finite there too; gradients are filled up with zeros, so that the copies count for nothing. */
static void load(float *tile, int pitch, const float *x, long points, int rows, int count, int gradients) {
    const int width = padded(count);
    for (int i = 0; i < rows; i++) {
        float *row = tile + (long)i * pitch;
        memcpy(row, x + (long)i * points, (size_t)count * 4);
        for (int p = count; p < width; p++) row[p] = gradients ? 0.0f : row[count - 1];
    }
}

static void store(float *x, const float *tile, int pitch, long points, int rows, int count) {
    for (int i = 0; i < rows; i++) memcpy(x + (long)i * points, tile + (long)i * pitch, (size_t)count * 4);
}

/* Memory of one thread, kept between calls. */
static float *memory(long floats) {
    static _Thread_local float *kept;
    static _Thread_local long size;
    if (size < floats) {
        free(kept);
        kept = aligned_alloc(64, (size_t)((floats * 4 + 63) / 64 * 64));
        if (!kept) abort();
        size = floats;
    }
    return kept;
}

/* How a member's points are cut for the threads: a rule of their count alone. */
static long part_size(long points) {
    const long tiles = (points + TILE - 1) / TILE;
    return (tiles + PARTS - 1) / PARTS * TILE;
}

long parts_of(long points) { return points ? (points + part_size(points) - 1) / part_size(points) : 0; }

/* The gradients of one member's parts (parts, size), added in order. */
static void add_parts(float *gradient, const float *partial, long parts, long size) {
    memcpy(gradient, partial, (size_t)size * 4);
    for (long k = 1; k < parts; k++)
        for (long i = 0; i < size; i++) gradient[i] += partial[k * size + i];
}

/* Conditioner */

typedef struct {
    int kept, outputs, hidden;
    const float *w1, *b1, *w2, *b2, *w3, *b3; /* W1 (hidden, kept), b1, W2 (hidden, hidden), b2, W3 (outputs, hidden), b3 */
} Network;

static Network network(int kept, int outputs, int hidden, const float *theta) {
    const float *b1 = theta + (long)hidden * kept, *b2 = b1 + hidden + (long)hidden * hidden;
    return (Network){kept, outputs, hidden, theta, b1, b1 + hidden, b2, b2 + hidden, b2 + hidden + (long)outputs * hidden};
}

/* What the conditioner needs of a tile. Row i of any of them starts i * pitch floats on. */
typedef struct {
    float *x, *h1, *h2, *y, *d1, *d2, *dy, *dx, *scratch;
} Buffers;

static long buffer_size(int kept, int outputs, int hidden) {
    const long pitch = pitch_of(TILE);
    return pitch * (4L * hidden + 2L * outputs + 2L * kept) + outer_scratch(most(hidden, outputs), most(hidden, kept));
}

static Buffers buffers(const Network *net, float *at, int pitch) {
    const long H = (long)net->hidden * pitch, K = (long)net->kept * pitch, O = (long)net->outputs * pitch;
    Buffers t;
    t.x = at, t.dx = t.x + K, t.y = t.dx + K, t.dy = t.y + O, t.h1 = t.dy + O;
    t.h2 = t.h1 + H, t.d1 = t.h2 + H, t.d2 = t.d1 + H, t.scratch = t.d2 + H;
    return t;
}

static void network_forward(const Network *net, const Buffers *t, int pitch, int width) {
    product(t->h1, pitch, net->b1, net->w1, net->kept, 1, t->x, pitch, net->hidden, net->kept, width, 1);
    product(t->h2, pitch, net->b2, net->w2, net->hidden, 1, t->h1, pitch, net->hidden, net->hidden, width, 1);
    product(t->y, pitch, net->b3, net->w3, net->hidden, 1, t->h2, pitch, net->outputs, net->hidden, width, 0);
}

/* From t->dy: adds to the parameters' gradients, and leaves the inputs' in t->dx. */
static void network_backward(const Network *net, float *gradient, const Buffers *t, int pitch, int width) {
    const int H = net->hidden;
    float *w1 = gradient, *b1 = w1 + (long)H * net->kept, *w2 = b1 + H, *b2 = w2 + (long)H * H, *w3 = b2 + H, *b3 = w3 + (long)net->outputs * H;
    outer_product(w3, t->dy, t->h2, pitch, net->outputs, H, width, t->scratch);
    row_sums(b3, t->dy, pitch, net->outputs, width);
    product(t->d2, pitch, NULL, net->w3, 1, H, t->dy, pitch, H, net->outputs, width, 0);
    mask(t->d2, t->h2, pitch, H, width);
    outer_product(w2, t->d2, t->h1, pitch, H, H, width, t->scratch);
    row_sums(b2, t->d2, pitch, H, width);
    product(t->d1, pitch, NULL, net->w2, 1, H, t->d2, pitch, H, H, width, 0);
    mask(t->d1, t->h1, pitch, H, width);
    outer_product(w1, t->d1, t->x, pitch, H, net->kept, width, t->scratch);
    row_sums(b1, t->d1, pitch, H, width);
    product(t->dx, pitch, NULL, net->w1, 1, net->kept, t->d1, pitch, net->kept, H, width, 0);
}

/* The points of one member that one thread takes at a time. */
typedef struct {
    long m, from, to;
} Part;

INLINE Part part_of(long item, long points) {
    const long parts = parts_of(points), from = item % parts * part_size(points);
    return (Part){item / parts, from, from + least(points - from, part_size(points))};
}

/* Layers. Each works in place on a tile x (dim, points) and adds its log-determinant to the row `sum`. */

/* s = A tanh(raw / A)    forward: z = x exp(s) + t, log_det = +sum s    inverse: x = (z - t) exp(-s), log_det = -sum s */
static void coupling_apply(const Layer *layer, long m, int inverse, float *x, float *sum, float *at, int pitch, int width) {
    const Network net = network(layer->kept, layer->outputs, layer->hidden, layer->tensors[0] + m * layer->strides[0]);
    Buffers t = buffers(&net, at, pitch);
    const int changed = net.outputs / 2;
    t.x = x + (long)layer->kept_at * pitch;
    network_forward(&net, &t, pitch, width);
    for (int i = 0; i < changed; i++)
        EACH_VECTOR(p, width) {
            vec *value = &AT(x, layer->changed_at + i, p);
            const vec s = layer->bound * hyperbolic_tangent(AT(t.y, i, p) / layer->bound), shift = AT(t.y, changed + i, p);
            *value = inverse ? (*value - shift) * exponential(-s) : *value * exponential(s) + shift;
            AT(sum, 0, p) += inverse ? -s : s;
        }
}

/* dx_b = dz_b exp(s)    dt = dz_b    draw = (dz_b x_b exp(s) + dlog_det) (1 - tanh^2)    dx_a = dz_a + (the conditioner's) */
static void coupling_backward(const Layer *layer, long m, float *x, float *d, const float *d_sum, float *gradient, float *at, int pitch,
                              int width) {
    const Network net = network(layer->kept, layer->outputs, layer->hidden, layer->tensors[0] + m * layer->strides[0]);
    Buffers t = buffers(&net, at, pitch);
    const int changed = net.outputs / 2;
    t.x = x + (long)layer->kept_at * pitch;
    network_forward(&net, &t, pitch, width);
    for (int i = 0; i < changed; i++)
        EACH_VECTOR(p, width) {
            const vec tanh = hyperbolic_tangent(AT(t.y, i, p) / layer->bound), scale = exponential(layer->bound * tanh);
            vec *d_value = &AT(d, layer->changed_at + i, p);
            AT(t.dy, i, p) = (*d_value * AT(x, layer->changed_at + i, p) * scale + AT(d_sum, 0, p)) * (1.0f - tanh * tanh);
            AT(t.dy, changed + i, p) = *d_value;
            *d_value *= scale;
        }
    network_backward(&net, gradient, &t, pitch, width);
    for (int i = 0; i < net.kept; i++) EACH_VECTOR(p, width) AT(d, layer->kept_at + i, p) += AT(t.dx, i, p);
}

/* The spline (flows/bijections/spline.py has its formulas). Of the 3 K - 1 outputs per changed feature, K are raw widths, K raw heights,
   and the rest raw slopes at the K - 1 inner knots. */

/* Raw sizes of bins in K rows, replaced by their softmax: the share of a bin, and its size is least + (1 - K least) share. */
static void shares_of(float *raw, int bins, int pitch, int width) {
    EACH_VECTOR(p, width) {
        vec largest = AT(raw, 0, p), total = {0};
        for (int k = 1; k < bins; k++) largest = pick(AT(raw, k, p) > largest, AT(raw, k, p), largest);
        for (int k = 0; k < bins; k++) total += AT(raw, k, p) = exponential(AT(raw, k, p) - largest);
        for (int k = 0; k < bins; k++) AT(raw, k, p) /= total;
    }
}

/* The bin that holds a value: its number, its lower corner, its width and height, and the raw slopes at its ends. */
typedef struct {
    vec number, x, y, width, height, raw_low, raw_high, low, high; /* low and high: the slopes themselves */
} Bin;

INLINE Bin find_bin(const Layer *layer, const float *y, int p, int pitch, vec value, int by_height) {
    const int K = layer->bins;
    const float bound = layer->bound, rest = 1.0f - layer->least_bin * (float)K;
    const float *slopes = y + 2L * K * pitch;
    vec x_knot = splat(-bound), y_knot = splat(-bound), number = {0};
    Bin bin = {{0}, x_knot, y_knot, {0}, {0}, {0}, {0}, {0}, {0}};
    for (int k = 0; k < K; k++) {
        vec x_next = splat(bound), y_next = splat(bound); /* the last knot is the bound itself, whatever the sizes add up to */
        if (k + 1 < K) {
            x_next = x_knot + 2.0f * bound * (layer->least_bin + rest * AT(y, k, p));
            y_next = y_knot + 2.0f * bound * (layer->least_bin + rest * AT(y, K + k, p));
        }
        const ivec here = k ? value >= (by_height ? y_knot : x_knot) : (ivec){0} == 0; /* or in a later bin, which then takes its place */
        number = pick(here, splat((float)k), number);
        bin.x = pick(here, x_knot, bin.x), bin.width = pick(here, x_next - x_knot, bin.width);
        bin.y = pick(here, y_knot, bin.y), bin.height = pick(here, y_next - y_knot, bin.height);
        bin.raw_low = pick(here, k ? AT(slopes, k - 1, p) : (vec){0}, bin.raw_low);
        bin.raw_high = pick(here, k + 1 < K ? AT(slopes, k, p) : (vec){0}, bin.raw_high);
        x_knot = x_next, y_knot = y_next;
    }
    bin.number = number;
    bin.low = layer->least_slope + softplus(bin.raw_low + layer->slope_shift);
    bin.high = layer->least_slope + softplus(bin.raw_high + layer->slope_shift);
    return bin;
}

/* log g' at the place u in [0, 1] of a bin */
INLINE vec log_slope(const Bin *bin, vec u, vec *q_out) {
    const vec s = bin->height / bin->width, v = u * (1.0f - u), q = s + (bin->high + bin->low - 2.0f * s) * v;
    *q_out = q;
    return 2.0f * logarithm(s) + logarithm(bin->high * u * u + 2.0f * s * v + bin->low * (1.0f - u) * (1.0f - u)) - 2.0f * logarithm(q);
}

static void spline_apply(const Layer *layer, long m, int inverse, float *x, float *sum, float *at, int pitch, int width) {
    const Network net = network(layer->kept, layer->outputs, layer->hidden, layer->tensors[0] + m * layer->strides[0]);
    Buffers t = buffers(&net, at, pitch);
    const int each = 3 * layer->bins - 1;
    t.x = x + (long)layer->kept_at * pitch;
    network_forward(&net, &t, pitch, width);
    for (int i = 0; i < net.outputs / each; i++) {
        float *y = t.y + (long)i * each * pitch;
        shares_of(y, layer->bins, pitch, width);
        shares_of(y + (long)layer->bins * pitch, layer->bins, pitch, width);
        EACH_VECTOR(p, width) {
            vec *value = &AT(x, layer->changed_at + i, p), q, u, result;
            const ivec inside = (*value < layer->bound) & (*value > -layer->bound), outside = ~inside & (*value == *value);
            const vec within = pick(outside, (vec){0}, *value);
            const Bin bin = find_bin(layer, y, p, pitch, within, inverse);
            const vec s = bin.height / bin.width;
            if (inverse) {
                const vec v = within - bin.y, curvature = bin.low + bin.high - 2.0f * s;
                const vec a = bin.height * (s - bin.low) + v * curvature, b = bin.height * bin.low - v * curvature, c = -s * v;
                vec root = b * b - 4.0f * a * c;
                for (int l = 0; l < LANES; l++) root[l] = __builtin_sqrtf(root[l] < 0 ? 0.0f : root[l]);
                u = 2.0f * c / (-b - root);
                u = pick(v == 0, (vec){0}, u);
                result = bin.x + u * bin.width;
            } else {
                u = (within - bin.x) / bin.width;
            }
            const vec slope = log_slope(&bin, u, &q);
            if (!inverse) result = bin.y + bin.height * (s * u * u + bin.low * u * (1.0f - u)) / q;
            *value = pick(outside, *value, result);
            AT(sum, 0, p) += pick(outside, (vec){0}, inverse ? -slope : slope);
        }
    }
}

/* With A = s u^2 + d_k v, q and N (the derivative's numerator) as in the formulas, v = u (1 - u), and d for the gradient of what follows it:

       dA = dz h / q       dq = -dz h A / q^2 - 2 dlog / q        dN = dlog / N
       ds = 2 dlog / s + 2 v dN + (1 - 2 v) dq + u^2 dA
       d(slope low) = (1 - u)^2 dN + v dq + v dA                  d(slope high) = u^2 dN + v dq
       du = 2 (slope high u - slope low (1 - u)) dN + 2 s u dA + (1 - 2 u) (2 s dN + (slope high + slope low - 2 s) dq + slope low dA)
       dh = dz A / q + ds / w       dw = -(ds s + du u) / w       dx = du / w = -d(x_k)       d(y_k) = dz

   A knot between two bins moves with the sizes of all bins before it; the sizes are a softmax. */
static void spline_backward(const Layer *layer, long m, float *x, float *d, const float *d_sum, float *gradient, float *at, int pitch,
                            int width) {
    const Network net = network(layer->kept, layer->outputs, layer->hidden, layer->tensors[0] + m * layer->strides[0]);
    Buffers t = buffers(&net, at, pitch);
    const int K = layer->bins, each = 3 * K - 1;
    const float bound = layer->bound, rest = 1.0f - layer->least_bin * (float)K;
    t.x = x + (long)layer->kept_at * pitch;
    network_forward(&net, &t, pitch, width);
    for (int i = 0; i < net.outputs / each; i++) {
        float *y = t.y + (long)i * each * pitch, *dy = t.dy + (long)i * each * pitch;
        shares_of(y, K, pitch, width);
        shares_of(y + (long)K * pitch, K, pitch, width);
        EACH_VECTOR(p, width) {
            const vec value = AT(x, layer->changed_at + i, p);
            vec *dz = &AT(d, layer->changed_at + i, p), q;
            const ivec inside = (value < bound) & (value > -bound), outside = ~inside & (value == value);
            const vec within = pick(outside, (vec){0}, value), d_value = *dz, d_log = AT(d_sum, 0, p);
            const Bin bin = find_bin(layer, y, p, pitch, within, 0);
            const vec w = bin.width, h = bin.height, low = bin.low, high = bin.high;
            const vec u = (within - bin.x) / w, v = u * (1.0f - u), s = h / w, A = s * u * u + low * v;
            q = s + (high + low - 2.0f * s) * v;
            const vec N = high * u * u + 2.0f * s * v + low * (1.0f - u) * (1.0f - u);
            const vec dA = d_value * h / q, dq = -dA * A / q - 2.0f * d_log / q, dN = d_log / N;
            const vec ds = 2.0f * d_log / s + 2.0f * v * dN + (1.0f - 2.0f * v) * dq + u * u * dA;
            const vec d_low = (1.0f - u) * (1.0f - u) * dN + v * dq + v * dA, d_high = u * u * dN + v * dq;
            const vec dv = 2.0f * s * dN + (high + low - 2.0f * s) * dq + low * dA;
            const vec du = 2.0f * (high * u - low * (1.0f - u)) * dN + 2.0f * s * u * dA + (1.0f - 2.0f * u) * dv;
            const vec dx = du / w, dh = d_value * A / q + ds / w, dw = -(ds * s + du * u) / w;
            *dz = pick(outside, d_value, dx);
            const vec none = {0};
            /* By the knots at the ends of the bin. */
            const vec x_low = pick(outside, none, -dx - dw), x_high = pick(outside, none, dw);
            const vec y_low = pick(outside, none, d_value - dh), y_high = pick(outside, none, dh);
            const vec slope_low = pick(outside, none, d_low / (1.0f + exponential(-bin.raw_low - layer->slope_shift)));
            const vec slope_high = pick(outside, none, d_high / (1.0f + exponential(-bin.raw_high - layer->slope_shift)));
            vec x_mean = none, y_mean = none;
            for (int k = 0; k < K; k++) {
                /* Bin k moves the lower knot if it lies before it, and the upper one also if it is the bin itself; never the outermost. */
                const ivec before = bin.number > (float)k, up_to = (bin.number >= (float)k) & (bin.number < (float)(K - 1));
                const vec x_size = pick(before, x_low, none) + pick(up_to, x_high, none);
                const vec y_size = pick(before, y_low, none) + pick(up_to, y_high, none);
                AT(dy, k, p) = 2.0f * bound * rest * x_size;
                AT(dy, K + k, p) = 2.0f * bound * rest * y_size;
                x_mean += AT(y, k, p) * AT(dy, k, p);
                y_mean += AT(y, K + k, p) * AT(dy, K + k, p);
            }
            for (int k = 0; k < K; k++) {
                AT(dy, k, p) = AT(y, k, p) * (AT(dy, k, p) - x_mean);
                AT(dy, K + k, p) = AT(y, K + k, p) * (AT(dy, K + k, p) - y_mean);
            }
            for (int k = 0; k + 1 < K; k++) /* the inner knot k + 1 is the upper end of bin k and the lower end of bin k + 1 */
                AT(dy, 2 * K + k, p) = pick(bin.number == (float)k, slope_high, none) + pick(bin.number == (float)(k + 1), slope_low, none);
        }
    }
    network_backward(&net, gradient, &t, pitch, width);
    for (int i = 0; i < net.kept; i++) EACH_VECTOR(p, width) AT(d, layer->kept_at + i, p) += AT(t.dx, i, p);
}

/* forward: z = (x - b) exp(-s), log_det = -sum s    inverse: x = b + z exp(s), log_det = +sum s */
static void actnorm_apply(const Layer *layer, long m, int dim, int inverse, float *x, float *sum, int pitch, int width) {
    const float *shift = layer->tensors[0] + m * layer->strides[0], *log_scale = layer->tensors[1] + m * layer->strides[1];
    for (int i = 0; i < dim; i++) {
        const vec s = splat(log_scale[i]), scale = exponential(inverse ? s : -s);
        EACH_VECTOR(p, width) {
            AT(x, i, p) = inverse ? shift[i] + AT(x, i, p) * scale : (AT(x, i, p) - shift[i]) * scale;
            AT(sum, 0, p) += inverse ? s : -s;
        }
    }
}

/* dx = dz exp(-s)    db = -sum dz exp(-s)    ds = -sum (dz z + dlog_det) */
static void actnorm_backward(const Layer *layer, long m, int dim, const float *x, float *d, const float *d_sum, float *gradient, int pitch,
                             int width) {
    const float *shift = layer->tensors[0] + m * layer->strides[0], *log_scale = layer->tensors[1] + m * layer->strides[1];
    for (int i = 0; i < dim; i++) {
        const vec scale = exponential(-splat(log_scale[i]));
        vec sum[LANES] = {{0}};
        EACH_VECTOR(p, width) {
            const vec z = (AT(x, i, p) - shift[i]) * scale;
            sum[1] -= AT(d, i, p) * z + AT(d_sum, 0, p);
            AT(d, i, p) *= scale;
            sum[0] -= AT(d, i, p);
        }
        const vec sums = sums_of_lanes(sum);
        gradient[i] += sums[0];
        gradient[dim + i] += sums[1];
    }
}

/* W = P L U with U's diagonal sign * exp(s): L (unit lower) and U (upper), both full squares here, and W if asked for. */
typedef struct {
    float *lower, *upper, *weight;
} Factors;

static Factors factors(const Layer *layer, long m, int dim, float *at) {
    const Factors f = {at, at + (long)dim * dim, at + 2L * dim * dim};
    const float *lower = layer->tensors[0] + m * layer->strides[0], *upper = layer->tensors[1] + m * layer->strides[1];
    const float *log_diagonal = layer->tensors[2] + m * layer->strides[2], *permutation = layer->tensors[3] + m * layer->strides[3];
    const float *sign = layer->tensors[4] + m * layer->strides[4];
    memset(f.weight, 0, (size_t)dim * dim * 4);
    for (int i = 0; i < dim; i++)
        for (int k = 0; k < dim; k++) {
            f.lower[i * dim + k] = k < i ? lower[i * dim + k] : k == i;
            f.upper[i * dim + k] = k > i ? upper[i * dim + k] : k == i ? sign[i] * exponential(splat(log_diagonal[i]))[0] : 0.0f;
        }
    for (int r = 0; r < dim; r++)
        for (int i = 0; i < dim; i++)
            if (permutation[r * dim + i] != 0) /* row r of W is row i of L U */
                for (int j = 0; j <= i; j++)
                    for (int k = j; k < dim; k++) f.weight[r * dim + k] += f.lower[i * dim + j] * f.upper[j * dim + k];
    return f;
}

/* forward: z = W x, log_det = +sum s    inverse: x = U^-1 L^-1 P' z, log_det = -sum s */
static void plu_apply(const Layer *layer, long m, int dim, int inverse, float *x, float *sum, float *at, int pitch, int width) {
    const Factors f = factors(layer, m, dim, at);
    const float *log_diagonal = layer->tensors[2] + m * layer->strides[2], *permutation = layer->tensors[3] + m * layer->strides[3];
    float *other = at + 5L * dim * dim, total = 0;
    for (int i = 0; i < dim; i++) total += log_diagonal[i];
    EACH_VECTOR(p, width) AT(sum, 0, p) += inverse ? -total : total;
    if (!inverse) {
        product(other, pitch, NULL, f.weight, dim, 1, x, pitch, dim, dim, width, 0);
        memcpy(x, other, (size_t)dim * pitch * 4);
        return;
    }
    product(other, pitch, NULL, permutation, 1, dim, x, pitch, dim, dim, width, 0);
    for (int i = 0; i < dim; i++)
        for (int k = 0; k < i; k++) EACH_VECTOR(p, width) AT(other, i, p) -= f.lower[i * dim + k] * AT(other, k, p);
    for (int i = dim - 1; i >= 0; i--) {
        for (int k = i + 1; k < dim; k++) EACH_VECTOR(p, width) AT(other, i, p) -= f.upper[i * dim + k] * AT(other, k, p);
        EACH_VECTOR(p, width) AT(other, i, p) /= f.upper[i * dim + i];
    }
    memcpy(x, other, (size_t)dim * pitch * 4);
}

/* dx = W' dz    G = P' dW, dW = sum dz x'    dL = strictly lower part of G U'    dU = strictly upper part of L' G
   ds = diagonal of L' G times that of U, plus sum dlog_det */
static void plu_backward(const Layer *layer, long m, int dim, const float *x, float *d, const float *d_sum, float *gradient, float *at,
                         int pitch, int width) {
    const long square = (long)dim * dim;
    const Factors f = factors(layer, m, dim, at);
    const float *permutation = layer->tensors[3] + m * layer->strides[3];
    float *weight = at + 3 * square, *g = at + 4 * square, *other = at + 5 * square, *scratch = other + (long)dim * pitch;
    float *lower = gradient, *upper = gradient + square, *log_diagonal = gradient + 2 * square, total = 0;
    memset(weight, 0, (size_t)square * 4);
    outer_product(weight, d, x, pitch, dim, dim, width, scratch);
    row_sums(&total, d_sum, pitch, 1, width);
    product(other, pitch, NULL, f.weight, 1, dim, d, pitch, dim, dim, width, 0);
    memcpy(d, other, (size_t)dim * pitch * 4);
    for (int r = 0; r < dim; r++)
        for (int i = 0; i < dim; i++)
            if (permutation[r * dim + i] != 0) memcpy(g + (long)i * dim, weight + (long)r * dim, (size_t)dim * 4);
    for (int i = 0; i < dim; i++) {
        for (int k = 0; k < i; k++)
            for (int j = k; j < dim; j++) lower[i * dim + k] += g[i * dim + j] * f.upper[k * dim + j];
        for (int k = i; k < dim; k++) {
            float sum = 0;
            for (int j = i; j < dim; j++) sum += f.lower[j * dim + i] * g[j * dim + k];
            if (k > i) upper[i * dim + k] += sum;
            else log_diagonal[i] += sum * f.upper[i * dim + i] + total;
        }
    }
}

/* The chain */

static void layer_apply(const Layer *layer, long m, int dim, int inverse, float *x, float *sum, float *at, int pitch, int width) {
    if (layer->kind == AFFINE_COUPLING) coupling_apply(layer, m, inverse, x, sum, at, pitch, width);
    else if (layer->kind == SPLINE_COUPLING) spline_apply(layer, m, inverse, x, sum, at, pitch, width);
    else if (layer->kind == ACTNORM) actnorm_apply(layer, m, dim, inverse, x, sum, pitch, width);
    else plu_apply(layer, m, dim, inverse, x, sum, at, pitch, width);
}

/* From what the layer received, x, and the gradients of its results, d and d_sum: leaves that of x in d. */
static void layer_backward(const Layer *layer, long m, int dim, float *x, float *d, const float *d_sum, float *gradient, float *at, int pitch,
                           int width) {
    if (layer->kind == AFFINE_COUPLING) coupling_backward(layer, m, x, d, d_sum, gradient, at, pitch, width);
    else if (layer->kind == SPLINE_COUPLING) spline_backward(layer, m, x, d, d_sum, gradient, at, pitch, width);
    else if (layer->kind == ACTNORM) actnorm_backward(layer, m, dim, x, d, d_sum, gradient, pitch, width);
    else plu_backward(layer, m, dim, x, d, d_sum, gradient, at, pitch, width);
}

/* Floats that a thread needs: what every layer receives and what the last one gives, a row of log-determinants, and room to work in. */
static long chain_memory(const Chain *chain) {
    const long dim = chain->dim, pitch = pitch_of(TILE);
    long room = 5 * dim * dim + dim * pitch + outer_scratch(chain->dim, chain->dim);
    for (int k = 0; k < chain->count; k++) {
        const Layer *layer = chain->layers + k;
        const long size = layer->kind <= SPLINE_COUPLING ? buffer_size(layer->kept, layer->outputs, layer->hidden) : 0;
        if (size > room) room = size;
    }
    return (chain->count + 1) * dim * pitch + pitch + room;
}

/* From x (members, dim, points) through all layers, from data to noise or back: out like x, log_det (members, points). */
void chain_apply(const Chain *chain, int inverse, const float *x, float *out, float *log_det) {
    const long N = chain->points, dim = chain->dim;
    const long items = chain->members * parts_of(N);
#pragma omp parallel for schedule(static) num_threads(team(chain->threads, items))
    for (long item = 0; item < items; item++) {
        const Part part = part_of(item, N);
        float *tile = memory(chain_memory(chain));
        for (long p = part.from; p < part.to; p += TILE) {
            const int count = least(part.to - p, TILE), width = padded(count), pitch = pitch_of(width);
            float *sum = tile + dim * pitch, *at = sum + pitch;
            load(tile, pitch, x + part.m * dim * N + p, N, (int)dim, count, 0);
            memset(sum, 0, (size_t)width * 4);
            for (int k = 0; k < chain->count; k++)
                layer_apply(chain->layers + (inverse ? chain->count - 1 - k : k), part.m, (int)dim, inverse, tile, sum, at, pitch, width);
            store(out + part.m * dim * N + p, tile, pitch, N, (int)dim, count);
            store(log_det + part.m * N + p, sum, pitch, N, 1, count);
        }
    }
}

/* The negative log-likelihood under a standard normal base, mean over the points of x (members, dim, points), and its gradients:

       loss = mean(|z|^2 / 2 - log_det) + dim log(2 pi) / 2    dz = z / points    dlog_det = -1 / points

   loss (members), in double precision; gradient (members, size). `partial` holds (members, parts, size) floats, and `partial_loss` as
   many doubles as there are parts. */
void chain_loss(const Chain *chain, const float *x, double *loss, float *gradient, double *partial_loss, float *partial) {
    const long N = chain->points, dim = chain->dim, parts = parts_of(N);
    const long items = chain->members * parts;
#pragma omp parallel for schedule(static) num_threads(team(chain->threads, items))
    for (long item = 0; item < items; item++) {
        const Part part = part_of(item, N);
        float *tile = memory(chain_memory(chain)), *own = partial + item * chain->size;
        double sum = 0;
        memset(own, 0, (size_t)chain->size * 4);
        for (long p = part.from; p < part.to; p += TILE) {
            const int count = least(part.to - p, TILE), width = padded(count), pitch = pitch_of(width);
            const long step = dim * pitch; /* from what one layer receives to what the next one does */
            float *last = tile + chain->count * step, *log_det = last + step, *at = log_det + pitch;
            load(tile, pitch, x + part.m * dim * N + p, N, (int)dim, count, 0);
            memset(log_det, 0, (size_t)width * 4);
            for (int k = 0; k < chain->count; k++) {
                memcpy(tile + (k + 1) * step, tile + k * step, (size_t)step * 4);
                layer_apply(chain->layers + k, part.m, (int)dim, 0, tile + (k + 1) * step, log_det, at, pitch, width);
            }
            for (int q = 0; q < count; q++) {
                float square = 0;
                for (int i = 0; i < dim; i++) square += last[i * pitch + q] * last[i * pitch + q];
                sum += 0.5f * square - log_det[q];
            }
            for (int q = 0; q < width; q++) { /* points that fill up the last vector have no weight */
                for (int i = 0; i < dim; i++) last[i * pitch + q] *= q < count ? 1.0f / (float)N : 0.0f;
                log_det[q] = q < count ? -1.0f / (float)N : 0.0f;
            }
            for (int k = chain->count - 1; k >= 0; k--) {
                const Layer *layer = chain->layers + k;
                layer_backward(layer, part.m, (int)dim, tile + k * step, last, log_det, own + layer->gradient, at, pitch, width);
            }
        }
        partial_loss[item] = sum;
    }
    const long rows = chain->members;
#pragma omp parallel for schedule(static) num_threads(team(chain->threads, rows))
    for (long m = 0; m < rows; m++) {
        loss[m] = 0.91893853320467274 * (double)dim; /* log(2 pi) / 2 */
        for (long k = 0; k < parts; k++) loss[m] += partial_loss[m * parts + k] / (double)N;
        add_parts(gradient + m * chain->size, partial + m * parts * chain->size, parts, chain->size);
    }
}

/* Adam, after each member's gradient is cut to the length `clip`; all tensors (members, size). The corrections are those for the
   averages' start at zero, 1 - beta^step. */
void clipped_adam(long members, long size, float *parameters, const float *gradient, float *first, float *second, float rate, float clip,
                  float beta_1, float beta_2, float epsilon, float correction_1, float correction_2, int threads) {
    const long rows = members;
#pragma omp parallel for schedule(static) num_threads(team(threads, rows))
    for (long m = 0; m < rows; m++) {
        const float *g = gradient + m * size;
        double square = 0;
        for (long start = 0; start < size; start += 1024) {
            const long end = start + least(size - start, 1024), whole = start + (end - start) / LANES * LANES;
            vec sum[LANES] = {{0}};
            for (long i = start; i < whole; i += LANES) sum[0] += *(const vec *)(g + i) * *(const vec *)(g + i);
            square += sums_of_lanes(sum)[0];
            for (long i = whole; i < end; i++) square += g[i] * g[i];
        }
        const float norm = (float)__builtin_sqrt(square), factor = norm > clip ? clip / norm : norm == norm ? 1.0f : norm;
        float *p = parameters + m * size, *a = first + m * size, *b = second + m * size;
        for (long i = 0; i < size; i++) {
            const float own = g[i] * factor;
            a[i] += (1.0f - beta_1) * (own - a[i]);
            b[i] = beta_2 * b[i] + (1.0f - beta_2) * own * own;
            p[i] -= rate / correction_1 * a[i] / (__builtin_sqrtf(b[i] / correction_2) + epsilon);
        }
    }
}
