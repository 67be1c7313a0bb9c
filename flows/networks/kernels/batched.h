/* Products of whole matrices, a member each, tile by tile; sums over points are added up in the tiles' order. */

long batched_product(const Product *request) {
    const Product o = *request;
    const long N = o.points, groups = o.over_points ? 1 : (N + TILE - 1) / TILE, items = o.members * groups;
    const long floats = (long)(o.inner + o.rows) * pitch_of(TILE) + outer_scratch(o.rows, o.inner);
    long refused = 0;
#pragma omp parallel for schedule(static) num_threads(team(o.threads, items))
    for (long item = 0; item < items; item++) {
        const long m = item / groups, from = item % groups * TILE, to = o.over_points ? N : from + least(N - from, TILE);
        float *own = memory(floats, &refused), *out = o.out + m * o.rows * (o.over_points ? o.inner : N);
        if (own && o.over_points) memset(out, 0, (size_t)o.rows * o.inner * 4);
        for (long p = from; own && p < to; p += TILE) {
            const int count = least(to - p, TILE);
            Room room = {own, 0};
            const Tile b = take_tile(&room, o.inner, padded(count)), other = take_tile(&room, o.rows, padded(count));
            load(b, o.b + m * o.inner * N + p, N, count);
            if (o.over_points) {
                load(other, o.a + m * o.rows * N + p, N, count);
                for (int i = 0; i < o.rows; i++) /* what fills up the last vector counts for nothing */
                    for (int q = count; q < other.width; q++) other.at[(long)i * other.pitch + q] = 0;
                add_outer_product(out, other, b, take(&room, outer_scratch(o.rows, o.inner)));
            } else {
                dense(other, matrix((float *)o.a + m * o.rows * o.inner, o.inner), b, o.bias ? o.bias + m * o.rows : NULL, 0);
                store(out + p, other, N, count);
            }
        }
    }
    return refused;
}
