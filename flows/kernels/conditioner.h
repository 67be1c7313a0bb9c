/* The perceptron inside a coupling, on a tile X of the kept features, and its gradients from dY,
   the gradient of the output:

       H1 = relu(W1 X + b1)    H2 = relu(W2 H1 + b2)    Y = W3 H2 + b3
                               dW3 += dY H2'            db3 += sum dY
       D2 = W3' dY [H2 > 0]    dW2 += D2 H1'            db2 += sum D2
       D1 = W2' D2 [H1 > 0]    dW1 += D1 X'             db1 += sum D1
       dX = W1' D1 */

/* The values of member m. */
INLINE float *of_member(Values values, long m) { return values.at + m * values.stride; }

/* A member's row of parameters, or of their gradients: W1 (hidden, kept), b1, W2 (hidden, hidden),
   b2, W3 (outputs, hidden), b3. */
typedef struct { Matrix w1, w2, w3; float *b1, *b2, *b3; } Weights;

static Weights weights(const Layer *layer, float *theta) {
    const long K = layer->kept, H = layer->hidden, O = layer->outputs;
    float *b1 = theta + H * K, *w2 = b1 + H, *b2 = w2 + H * H, *w3 = b2 + H;
    return (Weights){matrix(theta, K), matrix(w2, H), matrix(w3, H), b1, b2, w3 + O * H};
}

typedef struct { Tile x, h1, h2, y, dx, d1, d2, dy; float *scratch; } Activations;

static Activations activations(const Layer *layer, Tile x, Rooms *rooms) {
    const int K = layer->kept, H = layer->hidden, O = layer->outputs, width = x.width;
    Room *kept = &rooms->kept, *work = &rooms->work;
    return (Activations){
        .x = rows_of(x, layer->kept_at, K),
        .h1 = take_tile(kept, H, width),
        .h2 = take_tile(kept, H, width),
        .y = take_tile(kept, O, width),
        .d1 = take_tile(work, H, width),
        .d2 = take_tile(work, H, width),
        .dy = take_tile(work, O, width),
        .dx = take_tile(work, K, width),
        .scratch = take(work, outer_scratch(most(H, O), most(H, K))),
    };
}

static void coupling_lay_out(const Layer *layer, Tile x, Rooms *rooms) {
    activations(layer, x, rooms);
}

static Activations conditioner_forward(const Layer *layer, long m, Tile x, Rooms rooms) {
    const Weights w = weights(layer, of_member(layer->theta, m));
    const Activations t = activations(layer, x, &rooms);
    dense(t.h1, w.w1, t.x, w.b1, 1);
    dense(t.h2, w.w2, t.h1, w.b2, 1);
    dense(t.y, w.w3, t.h2, w.b3, 0);
    return t;
}

/* a[i][p] = 0 where h[i][p] is 0: the derivative of relu */
static void mask(Tile a, Tile h) {
    for (int i = 0; i < a.rows; i++)
        EACH_VECTOR(p, a.width) AT(a, i, p) = (vec)((ivec)AT(a, i, p) & (AT(h, i, p) != 0));
}

/* From t->dy, adds to the gradients of the parameters and, in d, of the kept features. */
static void conditioner_backward(const Layer *layer, long m, const Activations *t,
                                 float *gradient, Tile d) {
    const Weights w = weights(layer, of_member(layer->theta, m)), g = weights(layer, gradient);
    add_outer_product(g.w3.at, t->dy, t->h2, t->scratch);
    add_row_sums(g.b3, t->dy);
    product(t->d2, transposed(w.w3), t->dy);
    mask(t->d2, t->h2);
    add_outer_product(g.w2.at, t->d2, t->h1, t->scratch);
    add_row_sums(g.b2, t->d2);
    product(t->d1, transposed(w.w2), t->d2);
    mask(t->d1, t->h1);
    add_outer_product(g.w1.at, t->d1, t->x, t->scratch);
    add_row_sums(g.b1, t->d1);
    product(t->dx, transposed(w.w1), t->d1);
    const Tile dx = t->dx;
    for (int i = 0; i < dx.rows; i++)
        EACH_VECTOR(p, d.width) AT(d, layer->kept_at + i, p) += AT(dx, i, p);
}
