/* A plugin for qemu-user 7.2 to 8.x (plugin API 1): counts the aarch64 instructions that a program
 * executes between two marks, by kind, and the lines that a cache of a given size would fetch. One
 * guest thread may compute at a time. `board_instructions.sh` compiles it and runs Python with it.
 *
 *   qemu-aarch64 -plugin ./count.so[,cache=2048][,ways=16][,blocks=30] ...
 *
 * A mark is the system call getpgid(0x5eed0001) (start) or getpgid(0x5eed0002) (stop): from Python
 * os.getpgid(0x5eed0001), which raises ProcessLookupError. At each stop one line goes to stderr:
 *
 *   COUNT total=... kernel=... fmla=... half=... dot=... mull=... vector=... load=... store=...
 *         other=... [missed=...]
 *
 * fmla     multiply-add of floats in vectors of 4 x 32 bits, or by element
 * half     the same in 8 x 16 bits
 * dot      sdot and udot
 * mull     widening multiplies of integers: smull, smlal, umlal, ...
 * vector   other SIMD arithmetic
 * load     each such instruction, SIMD or not; store likewise
 * kernel   all instructions in straight code with at least four of the first four kinds
 * missed   lines of 64 bytes that the cache did not have
 *
 * blocks=N also names the N most executed pieces of straight code: address, instructions, share.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* From qemu-plugin.h, so that no header is needed. */
typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef struct qemu_info_t qemu_info_t;
#define PUBLIC __attribute__((visibility("default")))
PUBLIC int qemu_plugin_version = 1;
typedef void (*on_tb)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*on_syscall)(qemu_plugin_id_t, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                           uint64_t, uint64_t, uint64_t);
typedef void (*on_memory)(unsigned, qemu_plugin_meminfo_t, uint64_t, void *);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, on_tb);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, on_syscall);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, on_memory, int, int, void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
unsigned qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t);

enum { FMLA, HALF, DOT, MULL, VECTOR, LOAD, STORE, OTHER, CLASSES };
static const char *const names[] = {
    "fmla", "half", "dot", "mull", "vector", "load", "store", "other"};

/* By the encodings of the Arm Architecture Reference Manual, C4.1. */
static int class_of(uint32_t i)
{
    if ((i & 0x0a000000) == 0x08000000) { /* loads and stores */
        if ((i & 0x3b000000) == 0x18000000)
            return LOAD; /* literal */
        if ((i & 0x3a000000) == 0x38000000) {
            /* one register: the size's upper bit stands in opc if it is SIMD */
            uint32_t opc = i >> 22 & 3;
            bool loads = i >> 26 & 1 ? opc & 1 : opc || (i & 0x01200c00) == 0x00200000;
            return loads ? LOAD : STORE;
        }
        if ((i & 0x3f000000) == 0x19000000)
            return i >> 22 & 3 ? LOAD : STORE;
        return i >> 22 & 1 ? LOAD : STORE; /* pairs, structures, exclusive */
    }
    if ((i & 0x0e000000) != 0x0e000000)
        return OTHER;
    if (i & 0x90000000)
        return VECTOR; /* scalar floating point and the like: few */
    uint32_t opcode = i >> 12 & 15, size = i >> 22 & 3;
    bool u = i >> 29 & 1;
    if (i & 0x01000000) { /* by element, or else by immediate */
        if (i & 0x400)
            return VECTOR;
        if (opcode == 9 || (!u && (opcode == 1 || opcode == 5)))
            return size ? FMLA : HALF;
        if (opcode == 14)
            return DOT;
        return (opcode & 3) >= 2 && opcode != 15 && (opcode & 12) != 12 ? MULL : VECTOR;
    }
    if ((i & 0xbf20fc00) == 0x0e20cc00 || (i & 0xbfa0fc00) == 0x2e20dc00)
        return FMLA;
    if ((i & 0xbf60fc00) == 0x0e400c00 || (i & 0xbfe0fc00) == 0x2e401c00)
        return HALF;
    if ((i & 0x9f20f400) == 0x0e009400 || (i & 0x9f20fc00) == 0x0e00a400)
        return DOT;
    if ((i & 0x00200c00) == 0x00200000 && (opcode == 8 || opcode == 10 || opcode == 12))
        return MULL;
    return VECTOR;
}

struct block {
    uint64_t address, runs;
    uint32_t counts[CLASSES], instructions;
    struct block *next;
};
#define BUCKETS 65536
static struct block *blocks[BUCKETS];
static uint64_t total, counts[CLASSES], shown;
static bool counting;

static struct block *block_at(uint64_t address)
{
    struct block **slot = &blocks[(address >> 2) % BUCKETS];
    for (struct block *b = *slot; b; b = b->next)
        if (b->address == address)
            return b;
    struct block *b = calloc(1, sizeof *b);
    b->address = address;
    b->next = *slot;
    return *slot = b;
}

/* One level of cache, least recently used, physical = virtual. */
static uint64_t *tags, missed, line_clock;
static uint64_t *used;
static unsigned ways = 16, sets;

static void fetch(uint64_t line)
{
    uint64_t *tag = tags + line % sets * ways, *use = used + line % sets * ways;
    unsigned oldest = 0;
    line_clock++;
    for (unsigned w = 0; w < ways; w++) {
        if (tag[w] == line) {
            use[w] = line_clock;
            return;
        }
        if (use[w] < use[oldest])
            oldest = w;
    }
    tag[oldest] = line;
    use[oldest] = line_clock;
    missed += counting;
}

static void memory(unsigned cpu, qemu_plugin_meminfo_t info, uint64_t address, void *data)
{
    static uint64_t last;
    uint64_t size = 1u << qemu_plugin_mem_size_shift(info);
    uint64_t first = address >> 6, end = (address + size - 1) >> 6;
    if (first == last && end == last)
        return;
    fetch(first);
    if (end != first)
        fetch(end);
    last = end;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    struct block *b = block_at(qemu_plugin_tb_vaddr(tb));
    uint32_t found[CLASSES] = {0};
    size_t n = qemu_plugin_tb_n_insns(tb);
    for (size_t i = 0; i < n; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint32_t code;
        memcpy(&code, qemu_plugin_insn_data(insn), 4);
        int class = class_of(code);
        found[class]++;
        if (tags && (class == LOAD || class == STORE))
            qemu_plugin_register_vcpu_mem_cb(insn, memory, 0, 3, NULL);
    }
    if (b->instructions != n || memcmp(found, b->counts, sizeof found)) {
        /* another length: its own entry */
        if (b->instructions) {
            struct block *fresh = calloc(1, sizeof *fresh);
            fresh->address = b->address;
            fresh->next = blocks[(b->address >> 2) % BUCKETS];
            b = blocks[(b->address >> 2) % BUCKETS] = fresh;
        }
        b->instructions = n;
        memcpy(b->counts, found, sizeof found);
    }
    qemu_plugin_register_vcpu_tb_exec_inline(tb, 0, &b->runs, 1);
}

static int by_weight(const void *x, const void *y)
{
    const struct block *a = *(struct block *const *)x, *b = *(struct block *const *)y;
    uint64_t wa = a->runs * a->instructions, wb = b->runs * b->instructions;
    return wa < wb ? 1 : wa > wb ? -1 : 0;
}

static void report(void)
{
    size_t n = 0, room = 1024;
    struct block **all = malloc(room * sizeof *all);
    uint64_t kernel = 0;
    total = 0;
    memset(counts, 0, sizeof counts);
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct block *b = blocks[i]; b; b = b->next) {
            if (!b->runs)
                continue;
            if (n == room)
                all = realloc(all, (room *= 2) * sizeof *all);
            all[n++] = b;
            total += b->runs * b->instructions;
            for (int c = 0; c < CLASSES; c++)
                counts[c] += b->runs * b->counts[c];
            if (b->counts[FMLA] + b->counts[HALF] + b->counts[DOT] + b->counts[MULL] >= 4)
                kernel += b->runs * b->instructions;
        }
    fprintf(stderr, "COUNT total=%" PRIu64 " kernel=%" PRIu64, total, kernel);
    for (int c = 0; c < CLASSES; c++)
        fprintf(stderr, " %s=%" PRIu64, names[c], counts[c]);
    if (tags)
        fprintf(stderr, " missed=%" PRIu64, missed);
    fprintf(stderr, "\n");
    qsort(all, n, sizeof *all, by_weight);
    for (size_t i = 0; i < n && i < shown; i++) {
        fprintf(stderr, "BLOCK 0x%" PRIx64 " runs=%" PRIu64 " of=%u share=%.2f%%", all[i]->address,
                all[i]->runs, all[i]->instructions,
                100.0 * all[i]->runs * all[i]->instructions / total);
        for (int c = 0; c < CLASSES; c++)
            if (all[i]->counts[c])
                fprintf(stderr, " %s=%u", names[c], all[i]->counts[c]);
        fprintf(stderr, "\n");
    }
    free(all);
}

static void syscall_(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2,
                     uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    if (number != 155) /* getpgid */
        return;
    if ((uint32_t)a1 == 0x5eed0001) {
        for (size_t i = 0; i < BUCKETS; i++)
            for (struct block *b = blocks[i]; b; b = b->next)
                b->runs = 0;
        missed = 0;
        counting = true;
    } else if ((uint32_t)a1 == 0x5eed0002) {
        counting = false;
        report();
    }
}

PUBLIC int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    unsigned kilobytes = 0;
    for (int i = 0; i < argc; i++)
        if (sscanf(argv[i], "cache=%u", &kilobytes) != 1 && sscanf(argv[i], "ways=%u", &ways) != 1 &&
            sscanf(argv[i], "blocks=%" SCNu64, &shown) != 1)
            return fprintf(stderr, "count: what is %s?\n", argv[i]), -1;
    if (kilobytes) {
        sets = kilobytes * 16 / ways;
        tags = calloc((size_t)sets * ways, sizeof *tags);
        used = calloc((size_t)sets * ways, sizeof *used);
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, syscall_);
    return 0;
}
