/* The compiled chain of a flow: values and gradients of its layers, for all members of a
   population; and the step of the optimiser.

   flows/bijections defines the results, with torch; tests compare values and gradients. A tile of
   points passes through the whole chain while it stays in the processor's cache. The intermediate
   results of the layers are kept for the backward pass.

   No sum depends on the number of threads or of members: the points of a member are cut into parts
   whose number depends on the number of points alone, and the gradients of the parts are added in
   order. GCC and Clang compile this for any processor.

   One translation unit, in reading order: */

#include <stdlib.h>
#include <string.h>

#include "chain.h"
#include "vector.h"
#include "tile.h"
#include "product.h"
#include "conditioner.h"
#include "affine.h"
#include "spline.h"
#include "shift.h"
#include "actnorm.h"
#include "plu.h"
#include "permute.h"
#include "adam.h"
#include "batched.h"
#include "smooth.h"

#define PARTS 16 /* the largest number of parts of a member's points */

/* The functions of a kind of layer, for member m. `apply` maps a tile x (dim, points) in place and
   adds to the row log_det. `backward` takes the input x of the layer and the gradients d and
   d_log_det of its outputs; it replaces d by the gradient of x, and adds to the gradients of the
   parameters. `lay_out` measures the memory that both need. */
static const struct {
    void (*lay_out)(const Layer *, Tile x, Rooms *);
    void (*apply)(const Layer *, long m, int inverse, Tile x, Tile log_det, Rooms);
    void (*backward)(const Layer *, long m, Tile x, Tile d, Tile d_log_det, float *gradient, Rooms);
} LAYERS[] = {
    [AFFINE] = {coupling_lay_out, affine_apply, affine_backward},
    [SPLINE] = {coupling_lay_out, spline_apply, spline_backward},
    [ACTNORM] = {actnorm_lay_out, actnorm_apply, actnorm_backward},
    [PLU] = {plu_lay_out, plu_apply, plu_backward},
    [PERMUTE] = {permute_lay_out, permute_apply, permute_backward},
    [SHIFT] = {shift_lay_out, shift_apply, shift_backward},
};

/* The sizes of the structures. Python compares them with its own. */
#define SIZE_OF(structure) const long size_of_##structure = sizeof(structure);
SIZE_OF(Values) SIZE_OF(Layer) SIZE_OF(Chain) SIZE_OF(Adam) SIZE_OF(Product) SIZE_OF(Network)
SIZE_OF(Velocity)

/* The number of points per part, which depends on the number of points alone. */
static long part_size(long points) {
    const long tiles = (points + TILE - 1) / TILE;
    return (tiles + PARTS - 1) / PARTS * TILE;
}

static long parts_of(long points) {
    return points ? (points + part_size(points) - 1) / part_size(points) : 0;
}

/* The largest number of floats that a layer needs for a tile x, in each room. */
static Rooms largest(const Chain *chain, Tile x) {
    Rooms most = {{0}};
    for (int k = 0; k < chain->count; k++) {
        Rooms rooms = {{0}};
        LAYERS[chain->layers[k].kind].lay_out(chain->layers + k, x, &rooms);
        if (rooms.kept.used > most.kept.used) most.kept = rooms.kept;
        if (rooms.work.used > most.work.used) most.work = rooms.work;
    }
    return most;
}

/* Adds |z|^2 / 2 - log_det of `count` points to the sum. Replaces z and log_det by the gradients of
   the mean over N points: dz = z / N, dlog_det = -1 / N, and 0 for the padding of the last
   vector. */
static double base_loss(double sum, Tile z, float *log_det, int count, long N) {
    for (int q = 0; q < z.width; q++) {
        const float weight = q < count ? 1.0f / (float)N : 0.0f;
        float square = 0;
        for (int i = 0; i < z.rows; i++) {
            square += z.at[i * z.pitch + q] * z.at[i * z.pitch + q];
            z.at[i * z.pitch + q] *= weight;
        }
        if (q < count) sum += 0.5f * square - log_det[q];
        log_det[q] = -weight;
    }
    return sum;
}

/* Passes all points through the chain, tile by tile. With `out`, writes `out` and `log_det`, and
   all layers use the same memory. Without `out`, computes the losses and gradients of the parts; a
   tile per layer keeps its input for the backward pass. */
static long run(const Chain *chain, int inverse, const float *x, float *out, float *log_det,
                double *partial_loss, float *partial) {
    const int dim = chain->dim, step = out ? 0 : dim, rows = chain->count * step + dim;
    const long N = chain->points, parts = parts_of(N), items = chain->members * parts;
    const Rooms most = largest(chain, (Tile){NULL, dim, TILE, pitch_of(TILE)});
    /* From the kept room of a layer to the next; without a backward pass all layers share one. */
    const long keep = out ? 0 : most.kept.used;
    const long floats = (long)(rows + 1) * pitch_of(TILE) + most.work.used + most.kept.used
                        + keep * (chain->count - 1);
    long refused = 0;
#pragma omp parallel for schedule(static) num_threads(team(chain->threads, items))
    for (long item = 0; item < items; item++) {
        const long m = item / parts, from = item % parts * part_size(N);
        const long to = from + least(N - from, part_size(N));
        float *own = memory(WORK, floats, &refused);
        float *gradient = out ? NULL : partial + item * chain->size;
        double loss = 0;
        const unsigned long mode = begin_flushing();
        if (!out) memset(gradient, 0, (size_t)chain->size * 4);
        for (long p = from; own && p < to; p += TILE) {
            const int count = least(to - p, TILE);
            Room room = {own, 0};
            const Tile all = take_tile(&room, rows + 1, padded(count)), sum = rows_of(all, rows, 1);
            Tile tile = rows_of(all, 0, dim);
            load(tile, x + m * dim * N + p, N, count);
            const Room work = {take(&room, most.work.used), 0};
            float *kept = room.at + room.used;
            memset(sum.at, 0, (size_t)sum.width * 4);
            for (int k = 0; k < chain->count; k++) {
                const Layer *layer = chain->layers + (inverse ? chain->count - 1 - k : k);
                if (!out) copy(rows_of(tile, dim, dim), tile);
                tile = rows_of(tile, step, dim);
                const Rooms rooms = {{kept + k * keep, 0}, work};
                LAYERS[layer->kind].apply(layer, m, inverse, tile, sum, rooms);
            }
            if (out) {
                store(out + m * dim * N + p, tile, N, count);
                store(log_det + m * N + p, sum, N, count);
                continue;
            }
            loss = base_loss(loss, tile, sum.at, count, N);
            for (int k = chain->count - 1; k >= 0; k--) {
                const Layer *layer = chain->layers + k;
                const Rooms rooms = {{kept + k * keep, 0}, work};
                LAYERS[layer->kind].backward(layer, m, rows_of(all, k * dim, dim), tile, sum,
                                             gradient + layer->gradient, rooms);
            }
        }
        if (!out) partial_loss[item] = loss;
        end_flushing(mode);
    }
    return refused;
}

long chain_apply(const Chain *chain, int inverse, const float *x, float *out, float *log_det) {
    return run(chain, inverse, x, out, log_det, NULL, NULL);
}

long chain_loss(const Chain *chain, const float *x, double *loss, float *gradient) {
    const long size = chain->size, parts = parts_of(chain->points), items = chain->members * parts;
    long refused = 0;
    /* The losses of the parts, in double precision, and their gradients. The gradient of a single
       part is the gradient of its member. */
    float *own_parts = memory(SHARED, items * (parts > 1 ? 2 + size : 2), &refused);
    if (refused) return refused;
    double *partial_loss = (double *)own_parts;
    float *partial = parts > 1 ? own_parts + 2 * items : gradient;
    refused = run(chain, 0, x, NULL, NULL, partial_loss, partial);
#pragma omp parallel for schedule(static) num_threads(team(chain->threads, chain->members))
    for (long m = 0; m < chain->members; m++) {
        loss[m] = 0.91893853320467274 * (double)chain->dim; /* log(2 pi) / 2 */
        for (long k = 0; k < parts; k++)
            loss[m] += partial_loss[m * parts + k] / (double)chain->points;
        /* The gradients of the member's parts, added in order. */
        float *own = gradient + m * size;
        memmove(own, partial + m * parts * size, (size_t)size * 4);
        for (long k = 1; k < parts; k++)
            for (long i = 0; i < size; i++) own[i] += partial[(m * parts + k) * size + i];
    }
    return refused;
}
