/* The linear shift of the changed features, with W (outputs, kept) in theta:

       forward:  z_b = x_b + W x_a        log_det = 0
       inverse:  x_b = z_b - W x_a
       backward: dW = sum dz_b x_a'       dx_a = dz_a + W' dz_b */

typedef struct { Tile shift, dx; float *scratch; } Shift;

static Shift shift_work(const Layer *layer, Tile x, Rooms *rooms) {
    Room *work = &rooms->work;
    return (Shift){
        .shift = take_tile(work, layer->outputs, x.width),
        .dx = take_tile(work, layer->kept, x.width),
        .scratch = take(work, outer_scratch(layer->outputs, layer->kept)),
    };
}

static void shift_lay_out(const Layer *layer, Tile x, Rooms *rooms) {
    shift_work(layer, x, rooms);
}

static void shift_apply(const Layer *layer, long m, int inverse, Tile x, Tile log_det,
                        Rooms rooms) {
    const Tile shift = shift_work(layer, x, &rooms).shift;
    const Tile changed = rows_of(x, layer->changed_at, layer->outputs);
    product(shift, matrix(of_member(layer->theta, m), layer->kept),
            rows_of(x, layer->kept_at, layer->kept));
    for (int i = 0; i < changed.rows; i++)
        EACH_VECTOR(p, x.width) {
            const vec s = AT(shift, i, p);
            AT(changed, i, p) += inverse ? -s : s;
        }
}

static void shift_backward(const Layer *layer, long m, Tile x, Tile d, Tile d_log_det,
                           float *gradient, Rooms rooms) {
    const Shift t = shift_work(layer, x, &rooms);
    const Tile dz = rows_of(d, layer->changed_at, layer->outputs);
    add_outer_product(gradient, dz, rows_of(x, layer->kept_at, layer->kept), t.scratch);
    product(t.dx, transposed(matrix(of_member(layer->theta, m), layer->kept)), dz);
    for (int i = 0; i < layer->kept; i++)
        EACH_VECTOR(p, d.width) AT(d, layer->kept_at + i, p) += AT(t.dx, i, p);
}
