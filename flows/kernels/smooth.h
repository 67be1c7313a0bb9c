/* The perceptron of a velocity field: hidden layers with a smooth activation, its divergence, and
   the gradient of its regression. On a tile X, with H0 = X:

       A_l = W_l H_(l-1) + b_l    H_l = silu(A_l)    S_l = silu'(A_l)    Y = W H_L + b
       silu(a) = a s    silu'(a) = s + a s (1 - s)    s = 1 / (1 + e^-a)

   The divergence is sum_d dY_d / dX_d over the outputs d; further inputs do not enter. Column d of
   W_1 is propagated through the layers as a tangent, and multiplied by row d of W:

       U_1 = W_1[:, d] * S_1    U_l = W_l U_(l-1) * S_l    dY_d / dX_d = W[d] U_L

   The loss for targets T is sum |Y - T|^2 / N, so dY = 2 (Y - T) / N. Backpropagation:

       dW += dY H_L'    D_L = W' dY * S_L    dW_l += D_l H_(l-1)'    D_(l-1) = W_l' D_l * S_(l-1)
       db += sum dY                          db_l += sum D_l */

typedef struct { Matrix w[DEPTH + 1]; float *b[DEPTH + 1]; } Stack;

/* The weights and biases of every layer in a member's row of parameters, or of gradients. */
static Stack stack(const Velocity *o, float *theta) {
    Stack all;
    for (int l = 0; l <= o->depth; l++) {
        const long columns = l ? o->hidden : o->inputs, rows = l < o->depth ? o->hidden : o->outputs;
        all.w[l] = matrix(theta, columns);
        all.b[l] = theta + rows * columns;
        theta = all.b[l] + rows;
    }
    return all;
}

typedef struct { Tile x, h[DEPTH], s[DEPTH], u[2], y, target, sum; float *scratch; } Smooth;

static Smooth smooth(const Velocity *o, int width, Room *room) {
    Smooth t = {.x = take_tile(room, o->inputs, width), .y = take_tile(room, o->outputs, width)};
    for (int l = 0; l < o->depth; l++) {
        t.h[l] = take_tile(room, o->hidden, width);
        t.s[l] = take_tile(room, o->hidden, width);
    }
    for (int k = 0; k < 2 && o->divergence; k++) t.u[k] = take_tile(room, o->hidden, width);
    if (o->divergence) t.sum = take_tile(room, 1, width);
    if (o->target) {
        t.target = take_tile(room, o->outputs, width);
        t.scratch = take(room, outer_scratch(most(o->hidden, o->outputs),
                                             most(o->hidden, o->inputs)));
    }
    return t;
}

/* Replace a by silu(a), and store silu'(a) in s. */
static void activate(Tile a, Tile s) {
    for (int i = 0; i < a.rows; i++)
        EACH_VECTOR(p, a.width) {
            const vec share = 1.0f / (1.0f + exponential(-AT(a, i, p)));
            const vec h = AT(a, i, p) * share;
            AT(s, i, p) = fused(h, 1.0f - share, share);
            AT(a, i, p) = h;
        }
}

static void smooth_forward(const Velocity *o, Stack w, Smooth t) {
    for (int l = 0; l < o->depth; l++) {
        dense(t.h[l], w.w[l], l ? t.h[l - 1] : t.x, w.b[l], 0);
        activate(t.h[l], t.s[l]);
    }
    dense(t.y, w.w[o->depth], t.h[o->depth - 1], w.b[o->depth], 0);
}

static void times(Tile a, Tile b) {
    for (int i = 0; i < a.rows; i++)
        EACH_VECTOR(p, a.width) AT(a, i, p) *= AT(b, i, p);
}

static void divergence(const Velocity *o, Stack w, Smooth t) {
    memset(t.sum.at, 0, (size_t)t.sum.pitch * 4);
    for (int d = 0; d < o->outputs; d++) {
        Tile u = t.u[0], next = t.u[1];
        for (int i = 0; i < u.rows; i++) {
            const vec weight = splat(w.w[0].at[i * w.w[0].row + d]);
            EACH_VECTOR(p, u.width) AT(u, i, p) = weight * AT(t.s[0], i, p);
        }
        for (int l = 1; l < o->depth; l++) {
            product(next, w.w[l], u);
            times(next, t.s[l]);
            const Tile last = u;
            u = next, next = last;
        }
        for (int i = 0; i < u.rows; i++) {
            const vec weight = splat(w.w[o->depth].at[d * w.w[o->depth].row + i]);
            EACH_VECTOR(p, u.width)
                AT(t.sum, 0, p) = fused(weight, AT(u, i, p), AT(t.sum, 0, p));
        }
    }
}

/* Replace y by the gradient of the loss for `count` of N points; return the loss with their part. */
static double regression(double loss, Tile y, Tile target, int count, long N) {
    for (int q = 0; q < y.width; q++)
        for (int i = 0; i < y.rows; i++) {
            float *at = y.at + (long)i * y.pitch + q;
            const float off = *at - target.at[(long)i * target.pitch + q];
            if (q < count) loss += (double)off * off;
            *at = q < count ? 2.0f * off / (float)N : 0.0f;
        }
    return loss;
}

/* D_l overwrites H_l, so that less memory has to stay in the cache. */
static void smooth_backward(const Velocity *o, Stack w, Stack g, Smooth t) {
    Tile d = t.y;
    for (int l = o->depth; l >= 0; l--) {
        const Tile below = l ? t.h[l - 1] : t.x;
        add_outer_product(g.w[l].at, d, below, t.scratch);
        add_row_sums(g.b[l], d);
        if (!l) break;
        product(below, transposed(w.w[l]), d);
        times(below, t.s[l - 1]);
        d = below;
    }
}

/* Threads share the tiles of all members. For the loss they share the members only, because a sum
   over points is added in the order of the tiles. */
long smooth_perceptron(const Velocity *request) {
    const Velocity o = *request;
    const long N = o.points, groups = o.target ? 1 : (N + TILE - 1) / TILE;
    const long items = o.members * groups;
    long refused = 0;
    Room needed = {0};
    smooth(&o, TILE, &needed);
#pragma omp parallel for schedule(static) num_threads(team(o.threads, items))
    for (long item = 0; item < items; item++) {
        const long m = item / groups, from = item % groups * TILE;
        const long to = o.target ? N : from + least(N - from, TILE);
        const Stack w = stack(&o, of_member(o.theta, m));
        float *own = memory(WORK, needed.used, &refused), *gradient = o.gradient + m * o.size;
        double loss = 0;
        const unsigned long mode = begin_flushing();
        if (own && o.target) memset(gradient, 0, (size_t)o.size * 4);
        for (long p = from; own && p < to; p += TILE) {
            const int count = least(to - p, TILE);
            Room room = {own, 0};
            const Smooth t = smooth(&o, padded(count), &room);
            load(t.x, o.x + m * o.inputs * N + p, N, count);
            smooth_forward(&o, w, t);
            if (o.y) store(o.y + m * o.outputs * N + p, t.y, N, count);
            if (o.divergence) {
                divergence(&o, w, t);
                store(o.divergence + m * N + p, t.sum, N, count);
            }
            if (o.target) {
                load(t.target, o.target + m * o.outputs * N + p, N, count);
                loss = regression(loss, t.y, t.target, count, N);
                smooth_backward(&o, w, stack(&o, gradient), t);
            }
        }
        if (o.target) o.loss[m] = loss / (double)N;
        end_flushing(mode);
    }
    return refused;
}
