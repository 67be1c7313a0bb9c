/* The affine coupling. With (raw, t) = conditioner(x_a) and s = A tanh(raw / A):

       forward:  z_b = x_b exp(s) + t        log_det = +sum s
       inverse:  x_b = (z_b - t) exp(-s)     log_det = -sum s
       backward: dx_b = dz_b exp(s)          dt = dz_b
                 draw = (dz_b x_b exp(s) + dlog_det) (1 - tanh^2)
                 dx_a = dz_a + the gradient through the conditioner */

static void affine_apply(const Layer *layer, long m, int inverse, Tile x, Tile log_det,
                         Rooms rooms) {
    const Tile y = conditioner_forward(layer, m, x, rooms).y;
    const Tile changed = rows_of(x, layer->changed_at, layer->outputs / 2);
    const float bound = layer->bound;
    for (int i = 0; i < changed.rows; i++)
        EACH_VECTOR(p, x.width) {
            const vec value = AT(changed, i, p);
            const vec s = bound * hyperbolic_tangent(AT(y, i, p) / bound);
            const vec t = AT(y, changed.rows + i, p);
            AT(changed, i, p) = inverse ? (value - t) * exponential(-s)
                                        : fused(value, exponential(s), t);
            AT(log_det, 0, p) += inverse ? -s : s;
        }
}

static void affine_backward(const Layer *layer, long m, Tile x, Tile d, Tile d_log_det,
                            float *gradient, Rooms rooms) {
    const Activations t = activations(layer, x, &rooms);
    const Tile y = t.y, dy = t.dy;
    const Tile changed = rows_of(x, layer->changed_at, layer->outputs / 2);
    const Tile dz = rows_of(d, layer->changed_at, changed.rows);
    const float bound = layer->bound;
    for (int i = 0; i < changed.rows; i++)
        EACH_VECTOR(p, x.width) {
            const vec tanh = hyperbolic_tangent(AT(y, i, p) / bound);
            const vec scale = exponential(bound * tanh);
            AT(dy, i, p) = (AT(dz, i, p) * AT(changed, i, p) * scale + AT(d_log_det, 0, p))
                           * (1.0f - tanh * tanh);
            AT(dy, changed.rows + i, p) = AT(dz, i, p);
            AT(dz, i, p) *= scale;
        }
    conditioner_backward(layer, m, &t, gradient, d);
}
