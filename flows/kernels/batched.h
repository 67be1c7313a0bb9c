/* Matrix products and perceptrons, one per member, tile by tile. Sums over points are added in the
   order of the tiles. */

/* Sets the padding of the last vector to 0, so that it adds nothing to a sum. */
static void clear_beyond(Tile tile, int count) {
    for (int i = 0; i < tile.rows; i++)
        for (int p = count; p < tile.width; p++) tile.at[(long)i * tile.pitch + p] = 0;
}

long batched_product(const Product *request) {
    const Product o = *request;
    const long N = o.points, groups = o.over_points ? 1 : (N + TILE - 1) / TILE;
    const long items = o.members * groups;
    const long floats = (long)(o.inner + o.rows) * pitch_of(TILE) + outer_scratch(o.rows, o.inner);
    long refused = 0;
#pragma omp parallel for schedule(static) num_threads(team(o.threads, items))
    for (long item = 0; item < items; item++) {
        const long m = item / groups, from = item % groups * TILE;
        const long to = o.over_points ? N : from + least(N - from, TILE);
        float *own = memory(WORK, floats, &refused);
        float *out = o.out + m * o.rows * (o.over_points ? o.inner : N);
        const unsigned long mode = begin_flushing();
        if (own && o.over_points) memset(out, 0, (size_t)o.rows * o.inner * 4);
        for (long p = from; own && p < to; p += TILE) {
            const int count = least(to - p, TILE);
            Room room = {own, 0};
            const Tile b = take_tile(&room, o.inner, padded(count));
            const Tile other = take_tile(&room, o.rows, padded(count));
            load(b, o.b + m * o.inner * N + p, N, count);
            if (o.over_points) {
                load(other, o.a + m * o.rows * N + p, N, count);
                clear_beyond(other, count);
                add_outer_product(out, other, b, take(&room, outer_scratch(o.rows, o.inner)));
            } else {
                product(other, matrix((float *)o.a + m * o.rows * o.inner, o.inner), b);
                store(out + p, other, N, count);
            }
        }
        end_flushing(mode);
    }
    return refused;
}

/* In the forward pass threads share the tiles. In the backward pass they share the members, because
   sums over points are added in the order of the tiles. */
long perceptron(const Network *request) {
    const Network o = *request;
    const int kept = o.layer->kept, outputs = o.layer->outputs;
    const long N = o.points, groups = o.y ? (N + TILE - 1) / TILE : 1, items = o.members * groups;
    long refused = 0;
    Rooms needed = {{0}};
    coupling_lay_out(o.layer, (Tile){NULL, kept, TILE, pitch_of(TILE)}, &needed);
    const long floats = needed.kept.used + needed.work.used + 2L * kept * pitch_of(TILE);
#pragma omp parallel for schedule(static) num_threads(team(o.threads, items))
    for (long item = 0; item < items; item++) {
        const long m = item / groups, from = item % groups * TILE;
        const long to = o.y ? from + least(N - from, TILE) : N;
        float *own = memory(WORK, floats, &refused), *gradient = o.gradient + m * o.size;
        const unsigned long mode = begin_flushing();
        if (own && !o.y) memset(gradient, 0, (size_t)o.size * 4);
        for (long p = from; own && p < to; p += TILE) {
            const int count = least(to - p, TILE);
            Room room = {own, 0};
            const Tile x = take_tile(&room, kept, padded(count));
            const Tile dx = take_tile(&room, kept, padded(count));
            const Rooms rooms = {{take(&room, needed.kept.used), 0},
                                 {take(&room, needed.work.used), 0}};
            load(x, o.x + m * kept * N + p, N, count);
            const Activations t = conditioner_forward(o.layer, m, x, rooms);
            if (o.y) {
                store(o.y + m * outputs * N + p, t.y, N, count);
                continue;
            }
            load(t.dy, o.dy + m * outputs * N + p, N, count);
            clear_beyond(t.dy, count);
            memset(dx.at, 0, (size_t)kept * dx.pitch * 4);
            conditioner_backward(o.layer, m, &t, gradient, dx);
            store(o.dx + m * kept * N + p, dx, N, count);
        }
        end_flushing(mode);
    }
    return refused;
}
