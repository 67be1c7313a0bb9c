/* Trains a chain with all kinds of layer for 60 steps on generated numbers, maps points in both
   directions, and computes a perceptron, its gradients, matrix products, and a velocity field and
   its regression. Prints one hash of all results, which must be the same for every compiler, vector
   width and processor (test_build.py). */

#include <stdio.h>

#include "../../flows/kernels/chain.c"

#define MEMBERS 3
#define DIM 5
#define POINTS 700
#define HIDDEN 21
#define BINS 6

static unsigned long long state = 1;
static float uniform(void) { /* from -1 to 1: a linear congruential generator (Knuth) */
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (float)(state >> 40) / 8388608.0f - 1.0f;
}

static unsigned long long hash = 14695981039346656037ULL; /* FNV-1a */
static void add(const void *bytes, long count) {
    for (long i = 0; i < count; i++)
        hash = (hash ^ ((const unsigned char *)bytes)[i]) * 1099511628211ULL;
}

static float parameters[MEMBERS][20000], buffers[4][MEMBERS][DIM * DIM];
static float first[sizeof parameters / 4], second[sizeof parameters / 4];
static float gradient[sizeof parameters / 4], partial[16 * sizeof parameters / 4];
static float x[MEMBERS * DIM * POINTS], y[MEMBERS * DIM * POINTS];
static float log_det[MEMBERS * POINTS];
static double loss[MEMBERS];
static long size;

/* The next `count` parameters of every member, with random values. */
static Values take_parameters(long count) {
    for (int m = 0; m < MEMBERS; m++)
        for (long i = size; i < size + count; i++) parameters[m][i] = 0.15f * uniform();
    size += count;
    return (Values){&parameters[0][size - count], 20000};
}

static Layer layer(int kind, int swap) {
    const int first_half = (DIM + 1) / 2;
    const int kept = swap ? DIM - first_half : first_half, changed = DIM - kept;
    Layer l = {.kind = kind, .gradient = size};
    if (kind == AFFINE || kind == SPLINE) {
        const int outputs = changed * (kind == AFFINE ? 2 : 3 * BINS - 1);
        l.kept = kept;
        l.hidden = HIDDEN;
        l.outputs = outputs;
        l.kept_at = swap ? first_half : 0;
        l.changed_at = swap ? 0 : first_half;
        l.bound = kind == AFFINE ? 2.0f : 3.0f;
        l.bins = BINS;
        l.least_bin = l.least_slope = 0.001f;
        l.slope_shift = 0.5413248f;
        l.theta = take_parameters((long)HIDDEN * (kept + 1) + HIDDEN * (HIDDEN + 1)
                                  + outputs * (HIDDEN + 1));
    } else if (kind == ACTNORM)
        l.shift = take_parameters(DIM), l.log_scale = take_parameters(DIM);
    else if (kind == PLU) {
        l.lower = take_parameters(DIM * DIM);
        l.upper = take_parameters(DIM * DIM);
        l.log_diagonal = take_parameters(DIM);
        l.permutation = (Values){&buffers[0][0][0], DIM * DIM};
        l.sign = (Values){&buffers[1][0][0], DIM * DIM};
    } else
        l.order = (Values){&buffers[2][0][0], DIM * DIM};
    return l;
}

int main(int count, char **words) {
    for (int m = 0; m < MEMBERS; m++)
        for (int i = 0; i < DIM; i++) {
            buffers[0][m][i * DIM + (i + m) % DIM] = 1, buffers[1][m][i] = i % 2 ? 1 : -1;
            buffers[2][m][i] = (float)((i * 2 + m) % DIM);
        }
    const Layer layers[] = {
        layer(ACTNORM, 0), layer(PLU, 0),    layer(AFFINE, 0), layer(AFFINE, 1),
        layer(PERMUTE, 0), layer(SPLINE, 0), layer(SPLINE, 1),
    };
    for (long i = 0; i < MEMBERS * DIM * POINTS; i++)
        x[i] = 1.5f * (uniform() + uniform() + uniform());
    Layer table[7];
    float all[MEMBERS * 20000]; /* without gaps, for the optimiser */
    for (int m = 0; m < MEMBERS; m++) memcpy(all + m * size, parameters[m], (size_t)size * 4);
    for (int k = 0; k < 7; k++) {
        table[k] = layers[k];
        Values *own[] = {&table[k].theta, &table[k].shift, &table[k].log_scale,
                         &table[k].lower, &table[k].upper, &table[k].log_diagonal};
        for (int i = 0; i < 6; i++)
            if (own[i]->at) *own[i] = (Values){all + (own[i]->at - &parameters[0][0]), size};
    }
    Chain chain = {table, 7, MEMBERS, DIM, count > 1 ? words[1][0] - '0' : 1, POINTS, size};
    float power_1 = 1, power_2 = 1;
    for (int step = 0; step < 60; step++) {
        chain_loss(&chain, x, loss, gradient);
        power_1 *= 0.9f, power_2 *= 0.999f;
        const Adam adam = {MEMBERS, size, all, first, second, gradient, 0.005f, 1.0f, 0.9f, 0.999f,
                           1e-8f, 1 - power_1, 1 - power_2, chain.threads};
        clipped_adam(&adam);
        add(loss, sizeof loss);
    }
    add(all, MEMBERS * size * 4);
    for (int inverse = 0; inverse < 2; inverse++) {
        chain_apply(&chain, inverse, x, y, log_det);
        add(y, sizeof y), add(log_det, sizeof log_det);
    }
    x[3] = __builtin_nanf(""); /* in one member: a NaN has to have the same bits, too */
    chain_apply(&chain, 0, x, y, log_det);
    chain_loss(&chain, x, loss, gradient);
    const Adam adam = {MEMBERS, size, all, first, second, gradient, 0.005f, 1.0f, 0.9f, 0.999f,
                       1e-8f, 1, 1, chain.threads};
    clipped_adam(&adam);
    add(y, sizeof y), add(log_det, sizeof log_det), add(all, MEMBERS * size * 4);
    x[3] = 0;
    /* The perceptron of the first affine coupling. */
    const Network network = {table + 2, MEMBERS, chain.threads, POINTS, size,
                             x, NULL, y, gradient, partial};
    perceptron(&network);
    const Network back = {table + 2, MEMBERS, chain.threads, POINTS, size,
                          x, y, NULL, gradient, partial};
    perceptron(&back);
    add(y, MEMBERS * table[2].outputs * POINTS * 4L);
    add(gradient, MEMBERS * size * 4);
    add(partial, MEMBERS * table[2].kept * POINTS * 4L);
    /* A product y of four rows with x, then the product of y and x over the points. */
    for (int over_points = 0; over_points < 2; over_points++) {
        const float *a = over_points ? y : parameters[0];
        const Product product = {over_points, MEMBERS, 4, DIM, chain.threads, POINTS,
                                 a, x, over_points ? gradient : y};
        batched_product(&product);
    }
    add(y, MEMBERS * 4 * POINTS * 4L), add(gradient, MEMBERS * 4 * DIM * 4);
    /* A velocity field of the first parameters: its values, and a regression. */
    const long count_of_field = HIDDEN * (DIM + 1) + 2 * HIDDEN * (HIDDEN + 1) + 2 * (HIDDEN + 1);
    const Velocity field = {{&parameters[0][0], 20000}, DIM, HIDDEN, 3, 2, MEMBERS, chain.threads,
                            POINTS, count_of_field, x, NULL, y, log_det, NULL, NULL};
    smooth_perceptron(&field);
    const Velocity regressed = {{&parameters[0][0], 20000}, DIM, HIDDEN, 3, 2, MEMBERS,
                                chain.threads, POINTS, count_of_field, x, x, NULL, NULL, gradient,
                                loss};
    smooth_perceptron(&regressed);
    add(y, MEMBERS * 2 * POINTS * 4L), add(log_det, sizeof log_det), add(loss, sizeof loss);
    add(gradient, MEMBERS * count_of_field * 4);
    printf("%016llx %.9f\n", hash, loss[1]);
    return 0;
}
