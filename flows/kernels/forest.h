/* Random forests (Breiman 2001) of two classes, one for each fold of the points: it is grown on the other folds and asked about this one.
   A tree is grown until its leaves are of one class, on a bootstrap sample, with a few features tried at every split, by Gini's impurity.
   Counts are whole numbers, so the forests are the same everywhere. A tree is not kept: the points to be asked about go down as it grows. */

typedef unsigned long long Bits;

/* Whole numbers below n, from SplitMix64 (Steele, Lea and Flood 2014). */
static int below(Bits *state, int n) {
    Bits z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (int)((z ^ (z >> 31)) >> 33) % n;
}

/* `sorted`: for each feature, (dim, count), the points of the sample in its order. `times`: how often a point is in the sample. */
typedef struct {
    Forests of;
    int *sorted, *times, *asked, *features, *room;
    Bits state;
} Tree;

static float value(const Tree *t, int point, int feature) { return t->of.points[(long)point * t->of.dim + feature]; }

/* Those of `list` up to the threshold come first, each side in its order. Gives how many they are. */
static int divide(const Tree *t, int *list, int count, int feature, float threshold) {
    int low = 0, high = 0;
    for (int i = 0; i < count; i++)
        if (value(t, list[i], feature) <= threshold) list[low++] = list[i];
        else t->room[high++] = list[i];
    memcpy(list + low, t->room, (size_t)high * sizeof(int));
    return low;
}

/* The node of the sample's points from `from` on, and of the asked points from `asked` on. */
static void grow(Tree *t, int from, int count, int asked, int asked_count) {
    const Forests *o = &t->of;
    long total = 0, ones = 0;
    for (int i = from; i < from + count; i++) total += t->times[t->sorted[i]], ones += (long)t->times[t->sorted[i]] * o->labels[t->sorted[i]];
    double purest = 0; /* sum over both sides of (ones^2 + zeros^2) / all */
    int feature = -1, tries = ones && ones < total ? o->tries : 0;
    float threshold = 0;
    for (int f = 0; f < o->dim && tries; f++) {
        const int other = f + below(&t->state, o->dim - f), chosen = t->features[other];
        t->features[other] = t->features[f], t->features[f] = chosen;
        const int *order = t->sorted + (long)chosen * o->count + from;
        if (value(t, order[0], chosen) == value(t, order[count - 1], chosen)) continue; /* it can't tell points apart here */
        tries--;
        long left = 0, left_ones = 0;
        for (int i = 0; i + 1 < count; i++) {
            left += t->times[order[i]], left_ones += (long)t->times[order[i]] * o->labels[order[i]];
            const float here = value(t, order[i], chosen), next = value(t, order[i + 1], chosen);
            if (here == next) continue;
            const long zeros = left - left_ones, right_ones = ones - left_ones, right_zeros = total - left - right_ones;
            const double purity = (double)(left_ones * left_ones + zeros * zeros) / (double)left
                                + (double)(right_ones * right_ones + right_zeros * right_zeros) / (double)(total - left);
            if (purity <= purest) continue;
            purest = purity, feature = chosen, threshold = here + (next - here) / 2 < next ? here + (next - here) / 2 : here;
        }
    }
    if (feature < 0) {
        for (int i = asked; i < asked + asked_count; i++) o->score[t->asked[i]] += (double)ones / (double)total;
        return;
    }
    const int asked_low = divide(t, t->asked + asked, asked_count, feature, threshold);
    int low = 0;
    for (int f = 0; f < o->dim; f++) low = divide(t, t->sorted + (long)f * o->count + from, count, feature, threshold);
    grow(t, from, low, asked, asked_low);
    grow(t, from + low, count - low, asked + asked_low, asked_count - asked_low);
}

long forest_scores(const Forests *request) {
    const Forests o = *request;
    const long needed = (o.dim + 3L) * o.count + o.dim;
    int *own = malloc((size_t)needed * sizeof(int));
    if (!own) return needed * (long)sizeof(int);
    int *times = own + (long)o.dim * o.count, *asked_points = times + o.count, *room = asked_points + o.count;
    Tree t = {o, own, times, asked_points, room + o.count, room, (Bits)o.seed};
    memset(o.score, 0, (size_t)o.count * sizeof(double));
    for (int fold = 0; fold < o.folds; fold++)
        for (int tree = 0; tree < o.trees; tree++) {
            int asked = 0, learned = 0, count = 0;
            for (int i = 0; i < o.count; i++)
                if (o.fold[i] == fold) t.asked[asked++] = i;
                else t.room[learned++] = i;
            memset(t.times, 0, (size_t)o.count * sizeof(int));
            for (int i = 0; i < learned; i++) t.times[t.room[below(&t.state, learned)]]++;
            for (int f = 0; f < o.dim; f++) {
                t.features[f] = f, count = 0;
                for (int i = 0; i < o.count; i++) {
                    const int point = o.order[(long)f * o.count + i];
                    if (t.times[point]) t.sorted[(long)f * o.count + count++] = point;
                }
            }
            grow(&t, 0, count, 0, asked);
        }
    free(own);
    return 0;
}
