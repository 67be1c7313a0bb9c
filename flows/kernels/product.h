/* The two kinds of matrix product: `product` gives a column per point, and `add_outer_product` sums
   over the points. */

/* Entry (i, j) is at[i * row + j * column]. */
typedef struct { float *at; long row, column; } Matrix;
INLINE Matrix matrix(float *at, long columns) { return (Matrix){at, columns, 1}; }
INLINE Matrix transposed(Matrix a) { return (Matrix){a.at, a.column, a.row}; }

/* Computes `rows` rows of a product from row i on, `vecs` vectors at a time from point p on, as
   long as `vecs` whole vectors are left. Returns the first point that it did not compute. */
INLINE int product_rows(const int rows, const int vecs, Tile out, Matrix a, Tile b,
                        const float *bias, int relu, int i, int p) {
    for (; p + vecs * LANES <= out.width; p += vecs * LANES) {
        vec sum[8][2];
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int v = 0; v < vecs; v++) sum[r][v] = splat(bias ? bias[i + r] : 0.0f);
        /* Two pointers to rows of a; more would not fit in the registers. */
        const float *weight = a.at + i * a.row, *lower = weight + 4 * a.row, *point = &b.at[p];
        for (int j = 0; j < b.rows; j++, weight += a.column, lower += a.column, point += b.pitch) {
            vec points[2];
            UNROLL for (int v = 0; v < vecs; v++) points[v] = *(const loose *)(point + v * LANES);
            UNROLL for (int r = 0; r < rows; r++) {
                const vec w = splat((r < 4 ? weight : lower)[r % 4 * a.row]);
                UNROLL for (int v = 0; v < vecs; v++) sum[r][v] = fused(w, points[v], sum[r][v]);
            }
        }
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int v = 0; v < vecs; v++) /* a NaN is not below 0, so it stays */
                AT(out, i + r, p + v * LANES) =
                    relu ? pick(sum[r][v] < 0, (vec){0}, sum[r][v]) : sum[r][v];
    }
    return p;
}

/* out[i][p] = bias[i] + sum_j a[i][j] b[j][p]; bias may be NULL; with relu, negative results
   become 0 */
static void dense(Tile out, Matrix a, Tile b, const float *bias, int relu) {
    int i = 0;
#define ROWS(n)                                      \
    for (; i + n <= out.rows; i += n)                \
        product_rows(n, 1, out, a, b, bias, relu, i, \
                     product_rows(n, 2, out, a, b, bias, relu, i, 0));
    /* 16 sums fit in the registers of AVX-512 beside the operands; on other processors, 8. */
    if (LANES == 16) ROWS(8)
    ROWS(4) ROWS(2) ROWS(1)
}

/* out[i][p] = sum_j a[i][j] b[j][p] */
INLINE void product(Tile out, Matrix a, Tile b) { dense(out, a, b, NULL, 0); }

/* out[i * stride + k] += sum_p a[i][p] b[k][p] for a block of at most 16. */
INLINE void outer_block(const int rows, const int columns, float *out, long stride,
                        Tile a, Tile b) {
    Strands sum[16];
    UNROLL for (int v = 0; v < STRANDS / LANES; v++) {
        vec own[16] = {{0}};
        for (int p = v * LANES; p < a.width; p += STRANDS) {
            vec right[4];
            UNROLL for (int k = 0; k < columns; k++) right[k] = AT(b, k, p);
            UNROLL for (int i = 0; i < rows; i++) {
                const vec left = AT(a, i, p);
                UNROLL for (int k = 0; k < columns; k++)
                    own[i * columns + k] = fused(left, right[k], own[i * columns + k]);
            }
        }
        UNROLL for (int i = 0; i < rows * columns; i++) sum[i].at[v] = own[i];
    }
    float total[16];
    int i = 0;
    UNROLL for (; i + LANES <= rows * columns; i += LANES)
        *(loose *)(total + i) = folded_together(sum + i);
    UNROLL for (; i < rows * columns; i++) total[i] = folded(sum[i]);
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int k = 0; k < columns; k++) out[i * stride + k] += total[i * columns + k];
}

/* out[i][k] += sum_p a[i][p] b[k][p], out (rows of a, rows of b) without gaps. If a and b have
   enough rows, b is transposed into `scratch`, so that the sum over points is an ordinary product;
   `scratch` holds outer_scratch(rows of a, rows of b) floats. */
INLINE long outer_scratch(int rows, int columns) {
    return (long)pitch_of(padded(columns)) * (TILE + rows);
}

static void add_outer_product(float *out, Tile a, Tile b, float *scratch) {
    const int columns = b.rows, whole = columns / STRANDS * STRANDS, pitch = pitch_of(whole);
    int k = 0;
#define BLOCKS(m, n)                                            \
    for (; i + m <= a.rows; i += m)                             \
        outer_block(m, n, out + (long)i * columns + k, columns, \
                    rows_of(a, i, m), rows_of(b, k, n));
    if (a.rows >= 8 && whole) {
        const Tile turned = {scratch, a.width, whole, pitch};
        const Tile sums = {scratch + (long)pitch * TILE, a.rows, whole, pitch};
        for (; k < whole; k += LANES)
            EACH_VECTOR(p, a.width)
                transpose_block(scratch + (long)p * pitch + k, pitch,
                                b.at + (long)k * b.pitch + p, b.pitch);
        product(sums, matrix(a.at, a.pitch), turned);
        for (int i = 0; i < a.rows; i++)
            EACH_VECTOR(j, whole) *(loose *)(out + (long)i * columns + j) += AT(sums, i, j);
    }
    for (int i = 0; k + 4 <= columns; k += 4, i = 0) { BLOCKS(4, 4) BLOCKS(2, 4) BLOCKS(1, 4) }
    for (int i = 0; k < columns; k++, i = 0) { BLOCKS(LANES, 1) BLOCKS(4, 1) BLOCKS(1, 1) }
}

/* out[i] += sum_p a[i][p] */
static void add_row_sums(float *out, Tile a) {
    float one[TILE];
    for (int p = 0; p < a.width; p++) one[p] = 1.0f;
    add_outer_product(out, a, (Tile){one, 1, a.width, TILE}, NULL);
}
