/* Products of whole matrices, a member each, tile by tile; sums over points are added up in the tiles' order. */

long batched_product(const Product *product) {
    const Product o = *product;
    const long N = o.points, tiles = (N + TILE - 1) / TILE, groups = o.sum == OVER_POINTS ? 1 : tiles, items = o.members * groups;
    const int rows = o.sum == OVER_POINTS ? o.inner : o.rows;
    const long floats = (long)pitch_of(TILE) * (o.inner + o.rows) + outer_scratch(o.rows, rows) + 64;
    long refused = 0;
#pragma omp parallel for schedule(static) num_threads(team(o.threads, items))
    for (long item = 0; item < items; item++) {
        const long m = item / groups, from = groups > 1 ? item % groups * TILE : 0, to = groups > 1 ? from + least(N - from, TILE) : N;
        float *own = memory(floats, &refused), *out = o.out + m * o.rows * (o.sum == OVER_POINTS ? o.inner : N);
        if (own && o.sum == OVER_POINTS) memset(out, 0, (size_t)o.rows * o.inner * 4);
        for (long p = from; own && p < to; p += TILE) {
            const int count = least(to - p, TILE);
            Room room = {own, 0};
            const Tile b = take_tile(&room, o.inner, padded(count)), other = take_tile(&room, o.rows, padded(count));
            load(b, o.b + m * o.inner * N + p, N, count);
            if (o.sum == OVER_POINTS) {
                load(other, o.a + m * o.rows * N + p, N, count);
                for (int i = 0; i < o.rows; i++)
                    for (int q = count; q < other.width; q++) other.at[(long)i * other.pitch + q] = 0; /* what fills up counts for nothing */
                add_outer_product(out, other, b, take(&room, outer_scratch(o.rows, o.inner)));
                continue;
            }
            const Matrix a = {(float *)o.a + m * o.rows * o.inner, o.sum == OVER_ROWS ? o.inner : 1, o.sum == OVER_ROWS ? 1 : o.rows};
            dense(other, a, b, NULL, 0);
            store(out + p, other, N, count);
        }
    }
    return refused;
}
