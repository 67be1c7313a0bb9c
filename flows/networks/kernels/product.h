/* The two products that occur: one whose result lies along the points (`product`), and one that sums over them (`add_outer_product`). */

/* Entry (i, j) is at[i * row + j * column]. */
typedef struct { float *at; long row, column; } Matrix;
INLINE Matrix matrix(float *at, long columns) { return (Matrix){at, columns, 1}; }
INLINE Matrix transposed(Matrix a) { return (Matrix){a.at, a.column, a.row}; }

/* Rows i to i + rows of a product, `vecs` vectors at a time, from point p on as far as that goes. Gives the point where it ends. */
INLINE int product_rows(const int rows, const int vecs, Tile out, Matrix a, Tile b, const float *bias, int relu, int i, int p) {
    for (; p + vecs * LANES <= out.width; p += vecs * LANES) {
        vec sum[8][2];
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int v = 0; v < vecs; v++) sum[r][v] = splat(bias ? bias[i + r] : 0.0f);
        for (int j = 0; j < b.rows; j++) {
            vec points[2];
            UNROLL for (int v = 0; v < vecs; v++) points[v] = AT(b, j, p + v * LANES);
            UNROLL for (int r = 0; r < rows; r++) {
                const vec weight = splat(a.at[(i + r) * a.row + j * a.column]);
                UNROLL for (int v = 0; v < vecs; v++) sum[r][v] = fused(weight, points[v], sum[r][v]);
            }
        }
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int v = 0; v < vecs; v++) /* a NaN is not below 0: it stays */
                AT(out, i + r, p + v * LANES) = relu ? pick(sum[r][v] < 0, (vec){0}, sum[r][v]) : sum[r][v];
    }
    return p;
}

/* out[i][p] = bias[i] + sum_j a[i][j] b[j][p]; bias may be NULL; negative numbers become 0 where relu is asked for */
static void dense(Tile out, Matrix a, Tile b, const float *bias, int relu) {
    int i = 0;
#define ROWS(n)                       \
    for (; i + n <= out.rows; i += n) \
        product_rows(n, 1, out, a, b, bias, relu, i, product_rows(n, 2, out, a, b, bias, relu, i, 0));
    if (LANES == 16) ROWS(8) /* 16 sums: as many as fit in the registers of AVX-512 beside the operands; half of that elsewhere */
    ROWS(4) ROWS(2) ROWS(1)
}

/* out[i][p] = sum_j a[i][j] b[j][p] */
INLINE void product(Tile out, Matrix a, Tile b) { dense(out, a, b, NULL, 0); }

/* out[i * stride + k] += sum_p a[i][p] b[k][p] for a block. */
INLINE void outer_block(const int rows, const int columns, float *out, long stride, Tile a, Tile b) {
    Strands sum[16];
    UNROLL for (int v = 0; v < STRANDS / LANES; v++) {
        vec own[16] = {{0}};
        for (int p = v * LANES; p < a.width; p += STRANDS) {
            vec right[4];
            UNROLL for (int k = 0; k < columns; k++) right[k] = AT(b, k, p);
            UNROLL for (int i = 0; i < rows; i++) {
                const vec left = AT(a, i, p);
                UNROLL for (int k = 0; k < columns; k++) own[i * columns + k] = fused(left, right[k], own[i * columns + k]);
            }
        }
        UNROLL for (int i = 0; i < rows * columns; i++) sum[i].at[v] = own[i];
    }
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int k = 0; k < columns; k++) out[i * stride + k] += folded(sum[i * columns + k]);
}

/* out[i][k] += sum_p a[i][p] b[k][p], out (rows of a, rows of b) without gaps. Where b has enough rows it is transposed into `scratch`,
   so that the sum over points is a product like any other; `scratch` holds outer_scratch(rows of a, rows of b) floats. */
INLINE long outer_scratch(int rows, int columns) { return (long)pitch_of(padded(columns)) * (TILE + rows); }

static void add_outer_product(float *out, Tile a, Tile b, float *scratch) {
    const int columns = b.rows, whole = columns / STRANDS * STRANDS, pitch = pitch_of(whole);
    int i = 0;
#define BLOCK(m, n) outer_block(m, n, out + (long)i * columns + k, columns, rows_of(a, i, m), rows_of(b, k, n))
    if (a.rows >= 8 && whole) {
        const Tile turned = {scratch, a.width, whole, pitch}, sums = {scratch + (long)pitch * TILE, a.rows, whole, pitch};
        for (int k = 0; k < whole; k += LANES)
            EACH_VECTOR(p, a.width) transpose_block(scratch + (long)p * pitch + k, pitch, b.at + (long)k * b.pitch + p, b.pitch);
        product(sums, matrix(a.at, a.pitch), turned);
        for (; i < a.rows; i++) {
            EACH_VECTOR(k, whole) *(loose *)(out + (long)i * columns + k) += AT(sums, i, k);
            for (int k = whole; k < columns; k++) BLOCK(1, 1);
        }
    }
#define BLOCKS(m)                                     \
    for (; i + m <= a.rows; i += m) {                 \
        int k = 0;                                    \
        for (; k + 4 <= columns; k += 4) BLOCK(m, 4); \
        for (; k < columns; k++) BLOCK(m, 1);         \
    }
    BLOCKS(4) BLOCKS(2) BLOCKS(1)
}

/* out[i] += sum_p a[i][p] */
static void add_row_sums(float *out, Tile a) {
    for (int i = 0; i < a.rows; i++) {
        Strands sum = {{{0}}};
        EACH_STRAND(v, p, a.width) sum.at[v] += AT(a, i, p);
        out[i] += folded(sum);
    }
}
