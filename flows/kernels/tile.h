/* A tile: a few rows (features, activations) of the same points, small enough to stay in the
   processor's cache; and memory for tiles. */

#define TILE 256 /* the largest number of points per tile */

/* `width` is a multiple of STRANDS. Row i starts i * pitch floats after the first. */
typedef struct { float *at; int rows, width, pitch; } Tile;
#define AT(tile, i, p) (*(loose *)((tile).at + (long)(i) * (tile).pitch + (p)))

/* The floats from one row to the next: an odd number of cache lines, so that rows do not compete
   for the same places in the cache. */
INLINE int pitch_of(int width) { return (width + 15) / 16 * 16 + ((width + 15) / 16 % 2 ? 0 : 16); }

/* `rows` rows of a tile, from row `first` on. */
INLINE Tile rows_of(Tile t, int first, int rows) {
    return (Tile){t.at + (long)first * t.pitch, rows, t.width, t.pitch};
}

INLINE void copy(Tile to, Tile from) { memcpy(to.at, from.at, (size_t)from.rows * from.pitch * 4); }

/* Memory that `take` hands out piece by piece. If `at` is NULL, `take` only counts, so that one
   function both measures and takes the memory of a layer. */
typedef struct { float *at; long used; } Room;

static float *take(Room *room, long floats) {
    float *piece = room->at ? room->at + room->used : NULL;
    room->used += (floats + 15) / 16 * 16;
    return piece;
}

/* The memory of a layer: `kept` holds results for its backward pass, and the next layer overwrites
   `work`. */
typedef struct { Room kept, work; } Rooms;

static Tile take_tile(Room *room, int rows, int width) {
    const int pitch = pitch_of(width);
    return (Tile){take(room, (long)rows * pitch), rows, width, pitch};
}

/* Between `begin_flushing` and `end_flushing`, a thread treats numbers below 1e-38 as 0: arithmetic
   on them is a hundred times slower, and the averages of an optimiser decay to them. Parameters
   keep their bits, because so small a number does not change any of them. `end_flushing` takes the
   result of `begin_flushing`. */
INLINE unsigned long begin_flushing(void) {
#if defined(__x86_64__)
    const unsigned mode = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(mode | 0x8040);
    return mode;
#elif defined(__aarch64__)
    unsigned long mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    __asm__ volatile("msr fpcr, %0" : : "r"(mode | 1UL << 24));
    return mode;
#else
    return 0;
#endif
}

INLINE void end_flushing(unsigned long mode) {
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr((unsigned)mode);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(mode));
#else
    (void)mode;
#endif
}

/* The number of threads for `items` pieces of work. */
INLINE int team(int threads, long items) { return items < 1 ? 1 : least(threads, items); }

/* Memory of the calling thread, kept between calls because new memory costs as much as a step of
   the optimiser: WORK for the thread alone, SHARED for results of all threads. If the system
   refuses the memory, returns NULL and sets `refused` to the number of bytes. */
enum memory { WORK, SHARED };
static float *memory(enum memory use, long floats, long *refused) {
    static _Thread_local float *kept[2];
    static _Thread_local long size[2];
    if (size[use] >= floats) return kept[use];
    free(kept[use]);
    kept[use] = aligned_alloc(64, (size_t)((floats * 4 + 63) / 64 * 64));
    size[use] = kept[use] ? floats : 0;
    if (!kept[use])
#pragma omp atomic write
        *refused = floats * 4;
    return kept[use];
}

/* Loads `count` points from rows of `points` points. Copies of the last point pad the last vector,
   so that a result that is finite for all points is finite in the padding too. */
static void load(Tile tile, const float *x, long points, int count) {
    for (int i = 0; i < tile.rows; i++) {
        float *row = tile.at + (long)i * tile.pitch;
        memcpy(row, x + (long)i * points, (size_t)count * 4);
        for (int p = count; p < tile.width; p++) row[p] = row[count - 1];
    }
}

static void store(float *x, Tile tile, long points, int count) {
    for (int i = 0; i < tile.rows; i++)
        for (int p = 0; p < count; p++)
            x[(long)i * points + p] = sane(tile.at[(long)i * tile.pitch + p]);
}
