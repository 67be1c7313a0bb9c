/* Activation normalisation: a shift b and a log-scale s per feature.

       forward:  z = (x - b) exp(-s)    log_det = -sum s
       inverse:  x = b + z exp(s)       log_det = +sum s
       backward: dx = dz exp(-s)        db = -sum dz exp(-s)    ds = -sum (dz z + dlog_det) */

static void actnorm_lay_out(const Layer *layer, Tile x, Rooms *rooms) {}

static void actnorm_apply(const Layer *layer, long m, int inverse, Tile x, Tile log_det,
                          Rooms rooms) {
    const float *shift = of_member(layer->shift, m), *log_scale = of_member(layer->log_scale, m);
    for (int i = 0; i < x.rows; i++) {
        const vec s = splat(log_scale[i]), scale = exponential(inverse ? s : -s);
        EACH_VECTOR(p, x.width) {
            AT(x, i, p) = inverse ? shift[i] + AT(x, i, p) * scale
                                  : (AT(x, i, p) - shift[i]) * scale;
            AT(log_det, 0, p) += inverse ? s : -s;
        }
    }
}

static void actnorm_backward(const Layer *layer, long m, Tile x, Tile d, Tile d_log_det,
                             float *gradient, Rooms rooms) {
    const float *shift = of_member(layer->shift, m), *log_scale = of_member(layer->log_scale, m);
    for (int i = 0; i < x.rows; i++) {
        const vec scale = exponential(-splat(log_scale[i]));
        Strands d_shift = {{{0}}}, d_log_scale = {{{0}}};
        EACH_STRAND(v, p, x.width) {
            const vec z = (AT(x, i, p) - shift[i]) * scale;
            d_log_scale.at[v] -= AT(d, i, p) * z + AT(d_log_det, 0, p);
            AT(d, i, p) *= scale;
            d_shift.at[v] -= AT(d, i, p);
        }
        gradient[i] += folded(d_shift);
        gradient[x.rows + i] += folded(d_log_scale);
    }
}
