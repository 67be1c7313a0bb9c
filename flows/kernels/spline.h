/* The spline coupling. Of the 3 K - 1 outputs of the conditioner per changed feature, K are raw
   widths, K raw heights, and the rest raw slopes at the K - 1 inner knots. In the bin that holds x,
   with its lower corner (x_k, y_k), width w, height h, slopes d_k and d_{k+1}, s = h / w,
   u = (x - x_k) / w and v = u (1 - u):

       forward:  z = y_k + h A / q                  A = s u^2 + d_k v
                 log_det = +sum log[s^2 N / q^2]    N = d_{k+1} u^2 + 2 s v + d_k (1 - u)^2
                                                    q = s + (d_{k+1} + d_k - 2 s) v
       inverse:  u is the root in [0, 1] of a u^2 + b u + c = 0 (a, b and c: see spline.py),
                 x = x_k + u w; log_det: minus the forward one
       backward: (dq is the gradient of q, and so on)
       dA = dz h / q       dq = -dz h A / q^2 - 2 dlog / q        dN = dlog / N
       ds = 2 dlog / s + 2 v dN + (1 - 2 v) dq + u^2 dA
       d(d_k) = (1 - u)^2 dN + v dq + v dA                        d(d_{k+1}) = u^2 dN + v dq
       du = 2 (d_{k+1} u - d_k (1 - u)) dN + 2 s u dA
            + (1 - 2 u) (2 s dN + (d_{k+1} + d_k - 2 s) dq + d_k dA)
       dh = dz A / q + ds / w       dw = -(ds s + du u) / w
       dx = du / w = -d(x_k)        d(y_k) = dz

   A knot between two bins moves with the sizes of all bins before it; the sizes are a softmax.
   Outside of (-bound, bound), z = x. */

/* The outputs for changed feature i. Raw sizes of bins are replaced by their softmax, the shares of
   the bins; the size of a bin is least + (1 - K least) share. */
static Tile spline_of(const Layer *layer, Tile outputs, int i) {
    const int K = layer->bins, each = 3 * K - 1;
    const Tile y = rows_of(outputs, i * each, each);
    for (int first = 0; first < 2 * K; first += K)
        EACH_VECTOR(p, y.width) {
            vec largest = AT(y, first, p), total = {0};
            for (int k = first + 1; k < first + K; k++)
                largest = pick(AT(y, k, p) > largest, AT(y, k, p), largest);
            for (int k = first; k < first + K; k++)
                total += AT(y, k, p) = exponential(AT(y, k, p) - largest);
            for (int k = first; k < first + K; k++) AT(y, k, p) /= total;
        }
    return y;
}

/* The bin that holds a value: its number, its lower corner, its size, the raw slopes at its ends,
   and the slopes themselves. */
typedef struct { vec number, x, y, width, height, raw_low, raw_high, low, high; } Bin;

INLINE Bin find_bin(const Layer *layer, Tile y, int p, vec value, int by_height) {
    const int K = layer->bins;
    const float bound = layer->bound, least = 2.0f * bound * layer->least_bin;
    const float rest = 2.0f * bound * (1.0f - layer->least_bin * (float)K);
    vec x_knot = splat(-bound), y_knot = splat(-bound);
    Bin bin = {{0}, x_knot, y_knot, {0}, {0}, {0}, {0}, {0}, {0}};
    for (int k = 0; k < K; k++) {
        vec x_next = fused(splat(rest), AT(y, k, p), x_knot + least);
        vec y_next = fused(splat(rest), AT(y, K + k, p), y_knot + least);
        /* The last knot is exactly the bound, whatever the sizes add up to. */
        if (k + 1 == K) x_next = y_next = splat(bound);
        const ivec here = /* in this bin or in a later one, which then replaces this one */
            k ? value >= (by_height ? y_knot : x_knot) : (ivec){0} == 0;
        bin.number = pick(here, splat((float)k), bin.number);
        bin.x = pick(here, x_knot, bin.x), bin.width = pick(here, x_next - x_knot, bin.width);
        bin.y = pick(here, y_knot, bin.y), bin.height = pick(here, y_next - y_knot, bin.height);
        bin.raw_low = pick(here, k ? (vec)AT(y, 2 * K + k - 1, p) : (vec){0}, bin.raw_low);
        bin.raw_high = pick(here, k + 1 < K ? (vec)AT(y, 2 * K + k, p) : (vec){0}, bin.raw_high);
        x_knot = x_next, y_knot = y_next;
    }
    bin.low = layer->least_slope + softplus(bin.raw_low + layer->slope_shift);
    bin.high = layer->least_slope + softplus(bin.raw_high + layer->slope_shift);
    return bin;
}

static void spline_apply(const Layer *layer, long m, int inverse, Tile x, Tile log_det,
                         Rooms rooms) {
    const Tile outputs = conditioner_forward(layer, m, x, rooms).y;
    for (int i = 0; i < layer->outputs / (3 * layer->bins - 1); i++) {
        const Tile y = spline_of(layer, outputs, i);
        EACH_VECTOR(p, x.width) {
            loose *value = &AT(x, layer->changed_at + i, p);
            vec u, result;
            const ivec outside = (*value >= layer->bound) | (*value <= -layer->bound);
            const vec within = pick(outside, (vec){0}, *value);
            const Bin bin = find_bin(layer, y, p, within, inverse);
            const vec s = bin.height / bin.width;
            if (inverse) {
                const vec v = within - bin.y, curvature = bin.low + bin.high - 2.0f * s;
                const vec a = bin.height * (s - bin.low) + v * curvature;
                const vec b = bin.height * bin.low - v * curvature, c = -s * v;
                vec root = b * b - 4.0f * a * c;
                for (int l = 0; l < LANES; l++)
                    root[l] = __builtin_sqrtf(root[l] < 0 ? 0.0f : root[l]);
                u = pick(v == 0, (vec){0}, 2.0f * c / (-b - root));
                result = bin.x + u * bin.width;
            } else
                u = (within - bin.x) / bin.width;
            const vec v = u * (1.0f - u), q = s + (bin.high + bin.low - 2.0f * s) * v;
            const vec N = bin.high * u * u + 2.0f * s * v + bin.low * (1.0f - u) * (1.0f - u);
            const vec slope = 2.0f * logarithm(s) + logarithm(N) - 2.0f * logarithm(q);
            if (!inverse) result = bin.y + bin.height * (s * u * u + bin.low * u * (1.0f - u)) / q;
            *value = pick(outside, *value, result);
            AT(log_det, 0, p) += pick(outside, (vec){0}, inverse ? -slope : slope);
        }
    }
}

static void spline_backward(const Layer *layer, long m, Tile x, Tile d, Tile d_log_det,
                            float *gradient, Rooms rooms) {
    const Activations t = activations(layer, x, &rooms);
    const int K = layer->bins, each = 3 * K - 1;
    const float bound = layer->bound, rest = 1.0f - layer->least_bin * (float)K;
    for (int i = 0; i < layer->outputs / each; i++) {
        /* y already holds shares. */
        const Tile y = rows_of(t.y, i * each, each), dy = rows_of(t.dy, i * each, each);
        EACH_VECTOR(p, x.width) {
            const vec value = AT(x, layer->changed_at + i, p), none = {0};
            /* Outside, dx = dz, and the gradients of the parameters are 0. */
            const ivec outside = (value >= bound) | (value <= -bound);
            loose *dz = &AT(d, layer->changed_at + i, p);
            const vec within = pick(outside, none, value), d_value = pick(outside, none, *dz);
            const vec d_log = pick(outside, none, AT(d_log_det, 0, p));
            const Bin bin = find_bin(layer, y, p, within, 0);
            const vec w = bin.width, h = bin.height, low = bin.low, high = bin.high;
            const vec u = (within - bin.x) / w, v = u * (1.0f - u), s = h / w;
            const vec A = s * u * u + low * v;
            const vec q = s + (high + low - 2.0f * s) * v;
            const vec N = high * u * u + 2.0f * s * v + low * (1.0f - u) * (1.0f - u);
            const vec dA = d_value * h / q, dq = -dA * A / q - 2.0f * d_log / q, dN = d_log / N;
            const vec ds = 2.0f * d_log / s + 2.0f * v * dN + (1.0f - 2.0f * v) * dq + u * u * dA;
            const vec d_low = (1.0f - u) * (1.0f - u) * dN + v * dq + v * dA;
            const vec d_high = u * u * dN + v * dq;
            const vec dv = 2.0f * s * dN + (high + low - 2.0f * s) * dq + low * dA;
            const vec du = 2.0f * (high * u - low * (1.0f - u)) * dN + 2.0f * s * u * dA
                           + (1.0f - 2.0f * u) * dv;
            const vec dx = du / w, dh = d_value * A / q + ds / w, dw = -(ds * s + du * u) / w;
            *dz = pick(outside, *dz, dx);
            /* The gradients of the knots at the ends of the bin. */
            const vec x_low = -dx - dw, y_low = d_value - dh;
            const vec slope_low = d_low / (1.0f + exponential(-bin.raw_low - layer->slope_shift));
            const vec slope_high =
                d_high / (1.0f + exponential(-bin.raw_high - layer->slope_shift));
            vec x_mean = none, y_mean = none;
            for (int k = 0; k < K; k++) {
                /* The size of bin k moves the lower knot of every later bin, and the upper knot of
                   bin k and of every later bin, but never the outermost knot. */
                const ivec before = bin.number > (float)k;
                const ivec up_to = (bin.number >= (float)k) & (bin.number < (float)(K - 1));
                const vec x_size = pick(before, x_low, none) + pick(up_to, dw, none);
                const vec y_size = pick(before, y_low, none) + pick(up_to, dh, none);
                AT(dy, k, p) = 2.0f * bound * rest * x_size;
                AT(dy, K + k, p) = 2.0f * bound * rest * y_size;
                x_mean += AT(y, k, p) * AT(dy, k, p);
                y_mean += AT(y, K + k, p) * AT(dy, K + k, p);
            }
            for (int k = 0; k < K; k++) {
                AT(dy, k, p) = AT(y, k, p) * (AT(dy, k, p) - x_mean);
                AT(dy, K + k, p) = AT(y, K + k, p) * (AT(dy, K + k, p) - y_mean);
            }
            /* The inner knot k + 1 is the upper end of bin k and the lower end of bin k + 1. */
            for (int k = 0; k + 1 < K; k++)
                AT(dy, 2 * K + k, p) = pick(bin.number == (float)k, slope_high, none)
                                       + pick(bin.number == (float)(k + 1), slope_low, none);
        }
    }
    conditioner_backward(layer, m, &t, gradient, d);
}
