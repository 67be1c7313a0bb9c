/* The interface: what Python hands over, and what it may call. Python reads this page
   (interface.py), so all of it is said here and nowhere else. It holds enumerators, structures of
   numbers and pointers, and prototypes. */

/* The kinds of layer; chain.c has a table of them. */
enum kind { AFFINE, SPLINE, ACTNORM, PLU, PERMUTE };

/* A parameter or a buffer of a layer, (members, ...): where the first member's starts, and how many
   floats on the next one's does. */
typedef struct { float *at; long stride; } Values;

/* One layer of the chain. What its kind does not name stays 0. */
typedef struct {
    int kind;
    /* Where the gradients of its parameters start in a member's row; they follow each other as they
       do here. */
    long gradient;
    /* A coupling: the conditioner's parameters and sizes, and the first feature of the kept half
       and of the changed one. */
    Values theta;
    int kept, hidden, outputs, kept_at, changed_at;
    float bound; /* of the log-scale, or of the stretch of the axis that the spline bends */
    /* A spline: a raw slope of 0 and the shift give a slope of 1. */
    int bins;
    float least_bin, least_slope, slope_shift;
    Values shift, log_scale; /* ActNorm */
    Values lower, upper, log_diagonal, permutation, sign; /* PLU */
    Values order; /* a permutation */
} Layer;

/* Layers from data to noise, and the points (members, dim, points) that go through them; size:
   parameters of a member. */
typedef struct {
    const Layer *layers;
    int count, members, dim, threads;
    long points, size;
} Chain;

/* A step of the optimiser; all tensors (members, size). The corrections are for the averages' start
   at zero: 1 - beta^step. */
typedef struct {
    long members, size;
    float *parameters, *first, *second;
    const float *gradient;
    float rate, clip, beta_1, beta_2, epsilon, correction_1, correction_2;
    int threads;
} Adam;

/* A batch of matrix products, one for each member. product.py computes the gradients of a product
   by such products:
   out[i][p] = sum_j a[i][j] b[j][p], or, over_points: out[i][k] = sum_p a[i][p] b[k][p]
   rows: of a and out; inner: of b; points: of b. */
typedef struct {
    int over_points, members, rows, inner, threads;
    long points;
    const float *a, *b;
    float *out;
} Product;

/* Maps x (members, dim, points) through all layers, from data to noise or back: out like x, log_det
   (members, points). Returns 0, or the bytes of memory that the system refused to a thread. */
long chain_apply(const Chain *chain, int inverse, const float *x, float *out, float *log_det);

/* The negative log-likelihood under a standard normal base, mean over the points of x (members,
   dim, points): loss (members); and its gradient (members, size). Returns what chain_apply
   returns. */
long chain_loss(const Chain *chain, const float *x, double *loss, float *gradient);

void clipped_adam(const Adam *adam);

/* The perceptrons of a coupling, one for each member: y (members, outputs, points) of x (members,
   kept, points). If y is NULL, computes from dy, the gradient of y, the gradients of the parameters
   (members, size) and of x. Returns what chain_apply returns. */
typedef struct {
    const Layer *layer;
    int members, threads;
    long points, size;
    const float *x, *dy;
    float *y, *gradient, *dx;
} Network;

long perceptron(const Network *network);

long batched_product(const Product *product);

/* The perceptron of a velocity field (smooth.h), a member each, with `depth` hidden layers. Of x
   (members, inputs, points): y (members, outputs, points) and the divergence (members, points), each
   where it is not NULL. Where there is a target like y: the loss (members) and its gradient
   (members, size), too. It returns what chain_apply does. */
typedef struct {
    Values theta;
    int inputs, hidden, depth, outputs, members, threads;
    long points, size;
    const float *x, *target;
    float *y, *divergence, *gradient;
    double *loss;
} Velocity;

long smooth_perceptron(const Velocity *velocity);
