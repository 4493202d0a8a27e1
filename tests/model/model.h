/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The model: the production core on simulated pCPUs, against a TLB that caches all it may.
 *
 *   explore.c    which pCPU goes next: all interleavings, bounded, random; replay and minimising
 *   machine.c    arch/hw.h and lib/atomic.h: store buffers, scheduling points, kicks
 *   walker.c     the hardware's table formats, decoded from the manuals and not from stage2/
 *   tlb.c        what each pCPU's TLB may hold, and what a command makes it forget
 *   check.c      the invariants, and the seams (ld --wrap) where they are checked
 *   guest.c      entering a guest, its accesses, its own invalidations
 *   scenarios.c  small configurations
 *   trace.c      a violation as a table
 *
 * Everything static belongs to the simulated machine: it is restored before each execution and
 * hashed to recognise states. What outlives an execution is in the explorer, on the heap.
 */
#ifndef SLUICE_TESTS_MODEL_MODEL_H
#define SLUICE_TESTS_MODEL_MODEL_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/hw.h"
#include "stage2/stage2.h"
#include "tlbi/tags.h"
#include "vm/guestmem.h"

#define PCPUS	    2	 /* simulated; scenarios use all of them */
#define MAX_PROBES  4	 /* guest-physical addresses that guests and walkers use */
#define MAX_FRAMES  2048 /* of simulated memory */
#define MAX_ENTRIES 160	 /* of one simulated TLB; overflowing it is an error, never a loss */
#define MAX_STORES  4	 /* of one store buffer */
#define MAX_LEVELS  4
#define MAX_CMDS    16
#define MAX_READ    40
#define MAX_VCPUS   4
#define NR_VAS	    2 /* guest-virtual pages whose combined translations are modelled */

enum arch { ARCH_NPT, ARCH_EPT, ARCH_ARM64, NR_ARCHS };

enum invariant { I_NONE, I1, I2, I3, I4, I5, I6, I7, I8, I9, I10, I11, I12, I_LIVE, I_CHECK, NR_I };

extern const char *const invariant_name[NR_I];

/* What makes a translation stale, by what was reduced. */
enum reduction {
	RED_NONE,
	RED_ABSENT,
	RED_FRAME,
	RED_PERM,
	RED_TYPE,
	RED_SIZE,
	RED_TABLE,
	RED_DIRTY
};

/* Rules of the TLB that a run must have used, see `tlb_rules`. */
enum rule {
	RULE_STALE_LEAF,     /* a cached nested leaf became stale */
	RULE_STALE_COMBINED, /* a cached guest-virtual to machine translation became stale */
	RULE_WALK_CACHE,     /* a cached table pointer became stale */
	RULE_SPECULATIVE,    /* filled from a state between two stores of a table operation */
	RULE_DEAD_TABLE,     /* a walk went through a cached pointer into a dead table */
	RULE_DEAD_AD,	     /* ... which stopped an A/D update, or let it through */
	RULE_LATE_WALK,	     /* arm64: a walk after the exit filled the TLB */
	RULE_STORE_DELAYED,  /* another pCPU read past a store that was still in a buffer */
	RULE_OLD_STORE,	     /* arm64: a walker read an entry's old value before the barrier */
	RULE_SIBLING,	     /* entries of another vCPU of the space were under the same tag */
	NR_RULES,
};

extern const char *const rule_name[NR_RULES];

/* ---- simulated hardware (static: restored and hashed) ---- */

enum entry_kind { E_LEAF, E_COMBINED, E_TABLE };

struct tlb_entry {
	uint8_t kind, level, perm, type; /* perm: S2_RWX; level of the entry it was read from */
	uint8_t vcpu, va;		 /* E_COMBINED: of which guest-virtual page */
	uint8_t why;			 /* enum reduction, when stale */
	uint32_t tag;
	uint32_t gen;	    /* of the frame `pa`: how often it had been handed out */
	uint64_t root, sid; /* root's frame, space id */
	uint64_t ipa, pa;
	uint64_t seq;	     /* E_COMBINED: the guest's translations of that time */
	uint64_t generation; /* of the tag */
	uint64_t stale; /* 0: agrees with the tables; else the epoch of the batch that took it away
			 */
	const uint64_t *path[MAX_LEVELS + 1];
	uint64_t value[MAX_LEVELS + 1]; /* by level, with A/D bits */
};

struct tlb {
	unsigned n;
	struct tlb_entry e[MAX_ENTRIES];
};

/* What a pCPU's walker uses while `active`. */
struct context {
	bool active;
	struct space *space;
	uint64_t sid, root, generation;
	uint32_t tag, root_gen;
	uint8_t vcpu;
};

struct pending_store {
	void *p;
	uint64_t v;
	uint8_t size;
	bool release;
};

enum fiber_state { F_READY, F_SPIN, F_WAIT, F_DONE };

struct fiber {
	enum fiber_state state;
	bool started;
	bool changed;	  /* somebody wrote what this one has read since it spun last */
	bool written;	  /* anybody else wrote anything since then */
	unsigned grace;	  /* turns on its own account since somebody else wrote anything */
	unsigned nr_read; /* above MAX_READ: too many to remember, any store counts */
	const void *read[MAX_READ];
	bool in_guest;	  /* from the world switch to the exit */
	bool kicked;	  /* an interrupt is pending */
	bool lingering;	  /* waits in the guest for a kick */
	bool barrier;	  /* pending step empties the buffer first */
	const char *what; /* what it does next */
	const void *where;
	const char *doing; /* operation of its script */
	uintptr_t sp;
	jmp_buf at;
	bool (*ready)(void);
	unsigned nr_stores;
	struct pending_store stores[MAX_STORES];
	struct context ctx;
	struct tlb tlb;
	uint8_t vcpu;	  /* that enters */
	unsigned nr_cmds; /* arm64: commands that no DSB has completed */
	struct hw_tlbi_cmd cmds[MAX_CMDS];
	uint64_t held[8]; /* frames that its reader section found */
	unsigned nr_held;
	uint64_t owed; /* epoch that its reductions wait for */
	bool reading;
};

/* A guest's vCPU with the translations that it has itself made. */
struct guest_vcpu {
	struct tlbi_vcpu tlb;
	struct guestmem *gm;
	uint8_t va_to[NR_VAS];	 /* guest-virtual page -> probe */
	uint64_t va_seq[NR_VAS]; /* moves when the guest invalidates the page */
	uint64_t map_seq;	 /* last number given */
	bool failing_entry;	 /* the next entry fails */
};

struct machine {
	unsigned cur;
	bool running; /* fibers run; else setup or teardown, nothing yields */
	jmp_buf scheduler;
	struct fiber f[PCPUS];
	uint32_t frame_gen[MAX_FRAMES];
	uint8_t frame_used[MAX_FRAMES]; /* references */
	uint64_t free_at_boot;
	uint64_t probe[MAX_PROBES];
	unsigned nr_probes;
	uint64_t relevant[8]; /* bitmap of table indices on a probe's way */
	struct guest_vcpu v[MAX_VCPUS];
	unsigned old_n; /* arm64: entry values that walkers may still see */
	struct {
		const uint64_t *slot;
		uint64_t value;
		unsigned cpu;
	} old[16];
	uint64_t synced[2];  /* epoch of G[i] up to which gather_sync has returned */
	unsigned fail_alloc; /* 0: never; else the allocation that fails */
	bool turn[4];	     /* scripts hand over with these */
};

extern struct machine M;
extern struct guestmem G[2];

/* Simulated memory. */
extern char *arena;
unsigned frame_of(uint64_t pa);

/* ---- a scenario ---- */

struct scenario {
	const char *name;
	const char *about;
	unsigned archs; /* BIT(ARCH_...) */
	void (*setup)(void);
	void (*cpu[PCPUS])(void);
	void (*finish)(void); /* also checks for leaks */
	uint64_t frames;      /* of memory; 0: 48 */
	uint32_t nr_tags;     /* 0: plenty */
	uint8_t max_leaf;
	bool no_flush_by_tag;
	bool no_range;	    /* arm64: without FEAT_TLBIRANGE */
	enum invariant bad; /* a script that does wrong: this must fall */
};

extern const struct scenario scenarios[];
extern const unsigned nr_scenarios;

/* ---- the explorer (heap) ---- */

enum knob {
	KNOB_NO_FLUSH = 1, /* the hardware ignores every flush */
	KNOB_NO_WAIT = 2,  /* nobody is ever found to be behind */
	KNOB_COLLECT = 4,  /* go on after a violation */
};

struct stats {
	uint64_t executions, states, pruned, steps, checks[NR_I], violations[NR_I], rules[NR_RULES];
};

struct explorer {
	enum arch arch;
	const struct scenario *s;
	unsigned knobs;
	bool tracing;
	enum invariant violated;
	char message[400];
	struct stats stat;
};

extern struct explorer *X;

enum mode { MODE_EXHAUSTIVE, MODE_BOUNDED, MODE_RANDOM };

struct result {
	bool complete;
	enum invariant violated;
	char message[400];
	char schedule[4000];
};

void explorer_init(enum arch arch);
void explorer_scenario(const struct scenario *s, unsigned knobs);
struct result explore(enum mode mode, unsigned bound, uint64_t limit, uint64_t seed);
void explain(struct result *r);		     /* prints the shortest trace found */
enum invariant replay(const char *schedule); /* with a trace */

/* A choice of the adversary among n, inside a step. */
unsigned choose(unsigned n);

/* Scheduling point: another pCPU may go first. `barrier`: the store buffer must be empty then. */
void yield(const char *what, const void *where, bool barrier);
void wait_until(bool (*ready)(void), const char *what);
void doing(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

void violate(enum invariant i, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void checked(enum invariant i);
void rule_used(enum rule r);

/* ---- machine.c ---- */
void machine_init(void);
void machine_boot(const struct scenario *s, enum arch arch);
bool address_shared(const void *p, bool write); /* explore.c: learned */
void store_drain(unsigned cpu, unsigned index);
void store_drain_all(unsigned cpu);
bool store_may_drain(unsigned cpu, unsigned index);
uint64_t memory_load(const void *p, unsigned size);
uint64_t latest_epoch(const struct space *s);

/* ---- walker.c ---- */
struct decoded {
	enum { D_INVALID, D_TABLE, D_LEAF, D_RESERVED } kind;
	uint8_t perm, type;
	uint64_t pa;
	bool accessed, dirty;
};
struct decoded decode(uint64_t entry, unsigned level);
unsigned root_level(void);
uint64_t with_accessed(uint64_t entry, bool dirty);

/* ---- tlb.c ---- */
bool entry_usable(const struct tlb_entry *e, const struct context *c);
void tlb_fill(unsigned cpu, bool speculative);
void tlb_stored(const uint64_t *slot, uint64_t old, uint64_t new);
void tlb_forget(unsigned cpu, bool (*covers)(const struct tlb_entry *e, uint64_t arg),
		uint64_t arg);
void tlbi_begin(const struct hw_tlbi_cmd *cmd);
void tlbi_complete(bool local);
bool covers_all(const struct tlb_entry *e, uint64_t arg);
bool covers_tag(const struct tlb_entry *e, uint64_t tag);
bool covers_root(const struct tlb_entry *e, uint64_t root);
bool covers_combined(const struct tlb_entry *e, uint64_t arg);
bool covers_combined_tag(const struct tlb_entry *e, uint64_t tag);

/* ---- check.c ---- */
void check_entry(unsigned cpu, uint64_t epoch);
void check_access(unsigned cpu, unsigned probe, uint64_t frame, bool write,
		  const struct tlb_entry *e);
void check_no_leak(void);
void check_reader_holds(uint64_t pa);

/* ---- guest.c: what scripts do ---- */
enum act_kind { ACT_END, ACT_READ, ACT_WRITE, ACT_INVLPG, ACT_CR3, ACT_MAP, ACT_LINGER };
struct act {
	enum act_kind kind;
	unsigned arg, to;
};
void guest_run(unsigned vcpu, const struct act *acts);
bool guest_populate(struct guestmem *gm, uint64_t ipa, unsigned access);

/* ---- trace.c ---- */
void trace_init(void);
void trace_row(int cpu, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void trace_print(void);
void trace_clear(void);
const char *address_name(const void *p, char *buf, size_t n);
const char *function_name(const void *pc);

#endif
