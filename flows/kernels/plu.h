/* The linear map W = P L U: L unit lower, U upper triangular with the diagonal sign * exp(s), P a
   permutation.

       forward:  z = W x                log_det = +sum s
       inverse:  x = U^-1 L^-1 P' z     log_det = -sum s
       backward: dx = W' dz    dW = sum dz x'    G = P' dW
                 dL = strictly lower part of G U'    dU = strictly upper part of L' G
                 ds = diagonal of L' G times diagonal of U, plus sum dlog_det */

/* Square matrices, and memory for a tile and for an outer product. */
typedef struct { float *lower, *upper, *weight, *d_weight, *g, *scratch; Tile result; } Factors;

static Factors plu_work(Tile x, Rooms *rooms) {
    const int dim = x.rows;
    Room *kept = &rooms->kept, *work = &rooms->work;
    const long square = (long)dim * dim;
    return (Factors){
        .lower = take(kept, square),
        .upper = take(kept, square),
        .weight = take(kept, square),
        .d_weight = take(work, square),
        .g = take(work, square),
        .scratch = take(work, outer_scratch(dim, dim)),
        .result = take_tile(work, dim, x.width),
    };
}

static void plu_lay_out(const Layer *layer, Tile x, Rooms *rooms) { plu_work(x, rooms); }

static Factors factors(const Layer *layer, long m, Tile x, Rooms rooms) {
    const int dim = x.rows;
    const Factors f = plu_work(x, &rooms);
    const float *lower = of_member(layer->lower, m), *upper = of_member(layer->upper, m);
    const float *log_diagonal = of_member(layer->log_diagonal, m);
    const float *permutation = of_member(layer->permutation, m), *sign = of_member(layer->sign, m);
    memset(f.weight, 0, (size_t)dim * dim * 4);
    for (int i = 0; i < dim; i++)
        for (int k = 0; k < dim; k++) {
            f.lower[i * dim + k] = k < i ? lower[i * dim + k] : k == i;
            f.upper[i * dim + k] = k > i    ? upper[i * dim + k]
                                   : k == i ? sign[i] * exponential(splat(log_diagonal[i]))[0]
                                            : 0.0f;
        }
    for (int r = 0; r < dim; r++)
        for (int i = 0; i < dim; i++)
            if (permutation[r * dim + i] != 0) /* row r of W is row i of L U */
                for (int j = 0; j <= i; j++)
                    for (int k = j; k < dim; k++)
                        f.weight[r * dim + k] += f.lower[i * dim + j] * f.upper[j * dim + k];
    return f;
}

static void plu_apply(const Layer *layer, long m, int inverse, Tile x, Tile log_det, Rooms rooms) {
    const int dim = x.rows;
    const Factors f = factors(layer, m, x, rooms);
    const float *log_diagonal = of_member(layer->log_diagonal, m);
    const Tile y = f.result;
    float total = 0;
    for (int i = 0; i < dim; i++) total += log_diagonal[i];
    EACH_VECTOR(p, x.width) AT(log_det, 0, p) += inverse ? -total : total;
    if (inverse) {
        product(y, transposed(matrix(of_member(layer->permutation, m), dim)), x);
        for (int i = 0; i < dim; i++)
            for (int k = 0; k < i; k++)
                EACH_VECTOR(p, x.width) AT(y, i, p) -= f.lower[i * dim + k] * AT(y, k, p);
        for (int i = dim - 1; i >= 0; i--) {
            for (int k = i + 1; k < dim; k++)
                EACH_VECTOR(p, x.width) AT(y, i, p) -= f.upper[i * dim + k] * AT(y, k, p);
            EACH_VECTOR(p, x.width) AT(y, i, p) /= f.upper[i * dim + i];
        }
    } else
        product(y, matrix(f.weight, dim), x);
    copy(x, y);
}

static void plu_backward(const Layer *layer, long m, Tile x, Tile d, Tile d_log_det,
                         float *gradient, Rooms rooms) {
    const int dim = x.rows;
    const Factors f = plu_work(x, &rooms);
    const float *permutation = of_member(layer->permutation, m);
    float *lower = gradient, *upper = lower + (long)dim * dim;
    float *log_diagonal = upper + (long)dim * dim, total = 0;
    memset(f.d_weight, 0, (size_t)dim * dim * 4);
    add_outer_product(f.d_weight, d, x, f.scratch);
    add_row_sums(&total, d_log_det);
    product(f.result, transposed(matrix(f.weight, dim)), d);
    copy(d, f.result);
    for (int r = 0; r < dim; r++)
        for (int i = 0; i < dim; i++)
            if (permutation[r * dim + i] != 0)
                memcpy(f.g + (long)i * dim, f.d_weight + (long)r * dim, (size_t)dim * 4);
    for (int i = 0; i < dim; i++) {
        for (int k = 0; k < i; k++)
            for (int j = k; j < dim; j++)
                lower[i * dim + k] += f.g[i * dim + j] * f.upper[k * dim + j];
        for (int k = i; k < dim; k++) {
            float sum = 0;
            for (int j = i; j < dim; j++) sum += f.lower[j * dim + i] * f.g[j * dim + k];
            if (k > i) upper[i * dim + k] += sum;
            else log_diagonal[i] += sum * f.upper[i * dim + i] + total;
        }
    }
}
