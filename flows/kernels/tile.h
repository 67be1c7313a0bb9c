/* A tile: a few rows (features, activations) of the same points, small enough to stay in the
   processor's cache; and memory for tiles. */

#define TILE 256 /* most points worked on at a time */

/* `width` is a multiple of STRANDS. Row i starts i * pitch floats after the first. */
typedef struct { float *at; int rows, width, pitch; } Tile;
#define AT(tile, i, p) (*(loose *)((tile).at + (long)(i) * (tile).pitch + (p)))

/* From one row to the next: an odd number of cache lines, or the rows would fight for the same
   places in the cache. */
INLINE int pitch_of(int width) { return (width + 15) / 16 * 16 + ((width + 15) / 16 % 2 ? 0 : 16); }

/* Some rows of a tile. */
INLINE Tile rows_of(Tile t, int first, int rows) {
    return (Tile){t.at + (long)first * t.pitch, rows, t.width, t.pitch};
}

INLINE void copy(Tile to, Tile from) { memcpy(to.at, from.at, (size_t)from.rows * from.pitch * 4); }

/* Memory, handed out piece by piece. Where `at` is NULL it only counts: what is needed is said
   once, by what takes it. */
typedef struct { float *at; long used; } Room;

static float *take(Room *room, long floats) {
    float *piece = room->at ? room->at + room->used : NULL;
    room->used += (floats + 15) / 16 * 16;
    return piece;
}

/* Where a layer works: `kept` holds what it needs on the way back, `work` is taken over by the next
   layer. */
typedef struct { Room kept, work; } Rooms;

static Tile take_tile(Room *room, int rows, int width) {
    const int pitch = pitch_of(width);
    return (Tile){take(room, (long)rows * pitch), rows, width, pitch};
}

/* Numbers below 1e-38 are taken for 0 between `begin_flushing`, which returns what `end_flushing`
   wants, in each thread: arithmetic on them is a hundred times slower, and an optimiser's averages
   decay to them. Parameters keep their bits: such a number moves none. */
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

/* How many threads so many items keep busy. */
INLINE int team(int threads, long items) { return items < 1 ? 1 : least(threads, items); }

/* Memory of one thread, kept between calls, as new memory costs as much as a step of the optimiser:
   a piece to work in, and one for what all threads hand over. NULL where the system refuses it, and
   `refused` then says how many bytes. */
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

/* `count` points out of rows of `points`. The last vector is filled up with copies of the last
   point, so that what is finite for all points is finite there too. */
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
