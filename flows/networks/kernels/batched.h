/* Products of whole matrices, a member each, tile by tile; sums over points are added up in the tiles' order. */

/* What fills up the last vector counts for nothing. */
static void clear_beyond(Tile tile, int count) {
    for (int i = 0; i < tile.rows; i++)
        for (int p = count; p < tile.width; p++) tile.at[(long)i * tile.pitch + p] = 0;
}

/* Points of b; of a or of the result, whichever has points too; and what a sum over points works in. */
typedef struct { Tile b, other; float *scratch; } Operands;

static Operands operands(const Product *o, int width, Room *room) {
    return (Operands){take_tile(room, o->inner, width), take_tile(room, o->rows, width), take(room, outer_scratch(o->rows, o->inner))};
}

long batched_product(const Product *request) {
    const Product o = *request;
    const long N = o.points, groups = o.over_points ? 1 : (N + TILE - 1) / TILE, items = o.members * groups;
    long refused = 0;
    Room needed = {NULL, 0};
    operands(&o, TILE, &needed);
#pragma omp parallel for schedule(static) num_threads(team(o.threads, items))
    for (long item = 0; item < items; item++) {
        const long m = item / groups, from = item % groups * TILE, to = o.over_points ? N : from + least(N - from, TILE);
        float *own = memory(needed.used, &refused), *out = o.out + m * o.rows * (o.over_points ? o.inner : N);
        if (own && o.over_points) memset(out, 0, (size_t)o.rows * o.inner * 4);
        for (long p = from; own && p < to; p += TILE) {
            const int count = least(to - p, TILE);
            Room room = {own, 0};
            const Operands t = operands(&o, padded(count), &room);
            load(t.b, o.b + m * o.inner * N + p, N, count);
            if (o.over_points) {
                load(t.other, o.a + m * o.rows * N + p, N, count);
                clear_beyond(t.other, count);
                add_outer_product(out, t.other, t.b, t.scratch);
            } else {
                dense(t.other, matrix((float *)o.a + m * o.rows * o.inner, o.inner), t.b, o.bias ? o.bias + m * o.rows : NULL, 0);
                store(out + p, t.other, N, count);
            }
        }
    }
    return refused;
}
