/* Products of whole matrices, a member each, tile by tile; sums over points are added up in the tiles' order. */

/* Points of b; of a or of the result, whichever has points too; and what a sum over points works in. */
typedef struct { Tile b, other; float *scratch; } Operands;

static Operands operands(const Product *o, int width, Room *room) {
    return (Operands){take_tile(room, o->inner, width), take_tile(room, o->rows, width), take(room, outer_scratch(o->rows, o->inner))};
}

long batched_product(const Product *request) {
    const Product o = *request;
    const int over_points = o.sum == OVER_POINTS;
    const long N = o.points, groups = over_points ? 1 : (N + TILE - 1) / TILE, items = o.members * groups;
    long refused = 0;
    Room needed = {NULL, 0};
    operands(&o, TILE, &needed);
#pragma omp parallel for schedule(static) num_threads(team(o.threads, items))
    for (long item = 0; item < items; item++) {
        const long m = item / groups, from = item % groups * TILE, to = over_points ? N : from + least(N - from, TILE);
        float *own = memory(needed.used, &refused), *out = o.out + m * o.rows * (over_points ? o.inner : N);
        if (own && over_points) memset(out, 0, (size_t)o.rows * o.inner * 4);
        for (long p = from; own && p < to; p += TILE) {
            const int count = least(to - p, TILE);
            Room room = {own, 0};
            const Operands t = operands(&o, padded(count), &room);
            load(t.b, o.b + m * o.inner * N + p, N, count);
            if (over_points) {
                load(t.other, o.a + m * o.rows * N + p, N, count);
                for (int i = 0; i < o.rows; i++)
                    for (int q = count; q < t.other.width; q++) t.other.at[(long)i * t.other.pitch + q] = 0; /* what fills up counts for nothing */
                add_outer_product(out, t.other, t.b, t.scratch);
            } else {
                float *a = (float *)o.a + m * o.rows * o.inner;
                product(t.other, o.sum == OVER_ROWS ? matrix(a, o.inner) : transposed(matrix(a, o.rows)), t.b);
                store(out + p, t.other, N, count);
            }
        }
    }
    return refused;
}
