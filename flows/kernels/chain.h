/* The interface: the structures that Python fills, and the functions that it calls. Python parses
   this file (interface.py), so there is no other definition. It contains enumerators, structures of
   numbers and pointers, and prototypes. */

/* The kinds of layer; chain.c has a table of their functions. */
enum kind { AFFINE, SPLINE, ACTNORM, PLU, PERMUTE, SHIFT };

/* A parameter or a buffer of a layer, (members, ...): the address of the first member's numbers,
   and the number of floats from one member to the next. */
typedef struct { float *at; long stride; } Values;

/* One layer of the chain. Fields that its kind does not use are 0. */
typedef struct {
    int kind;
    /* Where the gradients of its parameters start in a member's row; they are in the order of the
       parameters below. */
    long gradient;
    /* A coupling or a shift: the conditioner's parameters and sizes, and the first feature of the kept half
       and of the changed half. */
    Values theta;
    int kept, hidden, outputs, kept_at, changed_at;
    float bound; /* of the log-scale, or of the interval of the spline */
    /* A spline: a raw slope of 0, with the shift added, gives slope 1. */
    int bins;
    float least_bin, least_slope, slope_shift;
    Values shift, log_scale; /* ActNorm */
    Values lower, upper, log_diagonal, permutation, sign; /* PLU */
    Values order; /* a permutation */
} Layer;

/* Layers from data to noise, and the shape (members, dim, points) of their input; size: parameters
   per member. */
typedef struct {
    const Layer *layers;
    int count, members, dim, threads;
    long points, size;
} Chain;

/* A step of the optimiser; all tensors are (members, size). The corrections 1 - beta^step make up
   for averages that start at 0. */
typedef struct {
    long members, size;
    float *parameters, *first, *second;
    const float *gradient;
    float rate, clip, beta_1, beta_2, epsilon, correction_1, correction_2;
    int threads;
} Adam;

/* A batch of matrix products, one per member:
   out[i][p] = sum_j a[i][j] b[j][p], or, over_points: out[i][k] = sum_p a[i][p] b[k][p]
   `rows` is the number of rows of a and out, and b is (inner, points). The gradients of a product
   are products of the same two forms (batched.py). */
typedef struct {
    int over_points, members, rows, inner, threads;
    long points;
    const float *a, *b;
    float *out;
} Product;

/* Maps x (members, dim, points) through all layers, from data to noise or, with `inverse`, back:
   out (members, dim, points), log_det (members, points). Returns 0, or the number of bytes of
   memory that the system refused to a thread. */
long chain_apply(const Chain *chain, int inverse, const float *x, float *out, float *log_det);

/* The mean negative log-likelihood of x (members, dim, points) under a standard normal base, loss
   (members), and its gradient (members, size). Returns 0 or bytes, as chain_apply does. */
long chain_loss(const Chain *chain, const float *x, double *loss, float *gradient);

void clipped_adam(const Adam *adam);

/* The perceptrons of a coupling, one per member: they map x (members, kept, points) to y (members,
   outputs, points). If y is NULL, `perceptron` computes the gradients of the parameters (members,
   size) and of x from dy, the gradient of y. It returns 0 or bytes, as chain_apply does. */
typedef struct {
    const Layer *layer;
    int members, threads;
    long points, size;
    const float *x, *dy;
    float *y, *gradient, *dx;
} Network;

long perceptron(const Network *network);

long batched_product(const Product *product);

/* The perceptrons of a velocity field (smooth.h), one per member, with `depth` hidden layers, at
   most DEPTH. For x (members, inputs, points), `smooth_perceptron` computes y (members, outputs,
   points) and the divergence (members, points), if they are not NULL; with a target, which has the
   shape of y, also the loss (members) and its gradient (members, size). It returns 0 or bytes, as
   chain_apply does. */
enum { DEPTH = 8 };

typedef struct {
    Values theta;
    int inputs, hidden, depth, outputs, members, threads;
    long points, size;
    const float *x, *target;
    float *y, *divergence, *gradient;
    double *loss;
} Velocity;

long smooth_perceptron(const Velocity *velocity);
