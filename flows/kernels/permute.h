/* A permutation of the features: row i of the output is row order[i] of the input.

       forward:  z_i = x_order[i]       log_det = 0
       inverse:  x_order[i] = z_i
       backward: dx_order[i] = dz_i */

static void permute_lay_out(const Layer *layer, Tile x, Rooms *rooms) {
    take_tile(&rooms->work, x.rows, x.width);
}

static void permute_apply(const Layer *layer, long m, int inverse, Tile x, Tile log_det,
                          Rooms rooms) {
    const float *order = of_member(layer->order, m);
    const Tile y = take_tile(&rooms.work, x.rows, x.width);
    for (int i = 0; i < x.rows; i++) {
        const int j = (int)order[i];
        if (inverse) copy(rows_of(y, j, 1), rows_of(x, i, 1));
        else copy(rows_of(y, i, 1), rows_of(x, j, 1));
    }
    copy(x, y);
}

static void permute_backward(const Layer *layer, long m, Tile x, Tile d, Tile d_log_det,
                             float *gradient, Rooms rooms) {
    permute_apply(layer, m, 1, d, d_log_det, rooms);
}
