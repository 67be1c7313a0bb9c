/* The step of the optimiser (ClippedAdam has the formulas): a member's gradient is scaled down to
   the length `clip` if it is longer; then follows Adam. */

/* The length of a member's gradient. Blocks of 1024 squares are summed in single precision, and the
   sums of the blocks in double precision. */
static float length(const float *g, long size) {
    double square = 0;
    for (long start = 0; start < size; start += 1024) {
        const long end = start + least(size - start, 1024);
        const long whole = start + (end - start) / STRANDS * STRANDS;
        Strands sum = {{{0}}};
        EACH_STRAND(v, i, (int)(whole - start))
            sum.at[v] += *(const loose *)(g + start + i) * *(const loose *)(g + start + i);
        square += folded(sum);
        for (long i = whole; i < end; i++) square += g[i] * g[i];
    }
    return (float)__builtin_sqrt(square);
}

void clipped_adam(const Adam *adam) {
    const Adam o = *adam;
#pragma omp parallel for schedule(static) num_threads(team(o.threads, o.members))
    for (long m = 0; m < o.members; m++) {
        const unsigned long mode = begin_flushing();
        const float *g = o.gradient + m * o.size;
        const float norm = length(g, o.size);
        const float factor = norm > o.clip ? o.clip / norm : norm == norm ? 1.0f : norm;
        float *p = o.parameters + m * o.size, *a = o.first + m * o.size, *b = o.second + m * o.size;
        for (long i = 0; i < o.size; i++) {
            const float own = g[i] * factor;
            a[i] += (1.0f - o.beta_1) * (own - a[i]);
            b[i] = o.beta_2 * b[i] + (1.0f - o.beta_2) * own * own;
            p[i] = sane(p[i] - o.rate / o.correction_1 * a[i]
                        / (__builtin_sqrtf(b[i] / o.correction_2) + o.epsilon));
        }
        end_flushing(mode);
    }
}
