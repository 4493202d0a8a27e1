/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Stage-2 tables: the map from guest-physical addresses to machine frames. One walker
 * (stage2/walk.h) is compiled once per format; this is what its users see.
 *
 * Levels count from the leaves: 0 maps 4 KiB, 1 2 MiB, 2 1 GiB; higher ones hold tables only.
 *
 * Each leaf of RAM holds one reference to each of its frames. stage2_install may run on any number
 * of pCPUs at once without a lock; everything else that changes entries asks for the lock's
 * witness.
 */
#ifndef SLUICE_STAGE2_STAGE2_H
#define SLUICE_STAGE2_STAGE2_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/util.h"
#include "mm/frames.h"
#include "mm/types.h"
#include "tlbi/gather.h"
#include "tlbi/space.h"

#define S2_LEVEL_BITS 9
#define S2_MAX_LEVEL  4 /* the highest level any format has */

/* Attributes of a leaf, the same for every format. */
#define S2_R	  BIT(0)
#define S2_W	  BIT(1)
#define S2_X	  BIT(2)
#define S2_RWX	  (S2_R | S2_W | S2_X)
#define S2_DEVICE BIT(3) /* uncached, strictly ordered; else write-back as the guest asks */
#define S2_NOREF  BIT(4) /* not RAM of ours: the leaf holds no reference */
#define S2_AGED	  BIT(5) /* reported only: accessed since last cleared */
#define S2_DIRTY  BIT(6) /* reported only: written since last cleared */
#define S2_MARKS  (S2_AGED | S2_DIRTY)
typedef uint32_t s2_attr_t;

/* What an entry is. The invalid ones are a closed set: hardware faults on all of them. */
enum s2_kind {
	S2_EMPTY,  /* nothing; carries the epoch that must be settled before it is filled again */
	S2_LOCKED, /* being replaced (break before make): retry */
	S2_FROZEN, /* in a dead table: start over from the root */
	S2_MMIO,   /* emulated device: region and slot generation */
	S2_TABLE,
	S2_LEAF,
};

struct stage2_format;

struct stage2 {
	struct space space;
	const struct stage2_format *fmt;
	atomic_u64 tables;    /* table frames linked, root included */
	atomic_u64 slots_gen; /* see stage2_slots_begin */
};

/* Tables for an operation, taken before it begins so that its commit cannot fail. One pCPU's. */
struct s2_pool {
	struct frames_reserve *reserve; /* promise they are charged to, or NULL */
	pa_t first;			/* cleared frames, each linked by its first word */
	unsigned count;
};

int s2_pool_fill(struct s2_pool *p, unsigned count); /* until it holds `count`: 0 or -ENOMEM */
void s2_pool_drain(struct s2_pool *p);		     /* gives the rest back */

/* What an address translates to. */
struct s2_walk {
	enum s2_kind kind; /* never S2_TABLE */
	unsigned level;	   /* of the entry that ends the walk */
	pa_t pa;	   /* S2_LEAF: of the address asked for, not of the leaf */
	s2_attr_t attr;	   /* S2_LEAF */
	uint64_t owed;	   /* S2_EMPTY: epoch, 0 for never mapped */
	uint32_t region;   /* S2_MMIO */
	uint32_t gen;
};

/*
 * Bytes that an entry of `level` translates in the formats of real machines, which all have nine
 * bits a level and pages of 4 KiB. stage2_leaf_size knows every format.
 */
static inline uint64_t s2_level_size(unsigned level)
{
	return PAGE_SIZE << (S2_LEVEL_BITS * level);
}

/* A leaf of `level` has 1 << s2_level_order(level) frames. */
static inline unsigned s2_level_order(unsigned level)
{
	return S2_LEVEL_BITS * level;
}

uint64_t stage2_leaf_size(const struct stage2 *s, unsigned level);

/* Frames of a root in this format: what stage2_init takes from its promise. */
unsigned stage2_root_frames(const struct stage2_format *fmt);

/* An empty space, its root charged to *r. 0 or -ENOMEM. */
int stage2_init(struct stage2 *s, const struct stage2_format *fmt, struct frames_reserve *r);

/* First address that cannot be translated. */
uint64_t stage2_limit(const struct stage2 *s);

/* The largest leaf this machine and format have. */
unsigned stage2_max_leaf(const struct stage2 *s);

/* Tables that [base, base + size) needs in 4K leaves, all levels, without the root. */
uint64_t stage2_worst_tables(const struct stage2 *s, ipa_t base, uint64_t size);

/* Tables that stage2_map may take from its pool. */
uint64_t stage2_map_tables(const struct stage2 *s, ipa_t at, uint64_t size, pa_t pa);

/* Translates for a report or an access. In a reader section or under the lock. */
struct s2_walk stage2_lookup(const struct stage2 *s, ipa_t at);

/*
 * Fills one empty entry: `at` and `pa` aligned to the level. Takes tables from the pool as needed.
 * On 0 the entry owns the caller's reference to the frames. Otherwise nothing is changed:
 * -EEXIST: there is a translation, or a finer table; -EAGAIN: the entry is locked, frozen or its
 * last translation is not settled (the agents have been asked to pass): retry; -ENOMEM: the pool is
 * empty. In a reader section.
 */
int stage2_install(struct stage2 *s, ipa_t at, unsigned level, pa_t pa, s2_attr_t attr,
		   struct s2_pool *pool);

/*
 * Gives the leaf at `at` the permissions and marks in attr on top of its own: the answer to a write
 * fault on a page whose owner says that it may be written (dirty log). An owner that takes a right
 * away says so, and lets the readers pass, before it protects. 0; -ENOENT when nothing is mapped;
 * -EAGAIN when the entry is locked or frozen. In a reader section.
 */
int stage2_relax(struct stage2 *s, ipa_t at, s2_attr_t attr);

/*
 * Maps [at, at + size) to `pa` onwards with the largest leaves that alignment, size and machine
 * allow. -EEXIST when any of it is mapped, -ENOMEM, -EINVAL; then the map is as it was (a lost race
 * with stage2_install is undone through g). On success takes one reference to each frame.
 */
int stage2_map(struct stage2 *s, struct space_locked l, ipa_t at, uint64_t size, pa_t pa,
	       s2_attr_t attr, struct s2_pool *pool, struct tlbi_gather *g);

/*
 * Takes every translation in [at, at + size) away. Leaves that reach beyond are split first, which
 * takes at most two tables per level from the pool: -ENOMEM leaves the map as it was.
 */
int stage2_unmap(struct stage2 *s, struct space_locked l, ipa_t at, uint64_t size,
		 struct s2_pool *pool, struct tlbi_gather *g);

/*
 * Gives the leaf of `level` at `at` another frame, and settles g: copy-on-write. On 0 the entry
 * owns the caller's reference to the new frame, and the old one's is on its way. -ENOENT when there
 * is no such leaf; -EINVAL. The copy comes before, after stage2_protect has taken write permission
 * away and g was settled: until then stores still reach the old frame.
 */
int stage2_replace(struct stage2 *s, struct space_locked l, ipa_t at, unsigned level, pa_t pa,
		   s2_attr_t attr, struct tlbi_gather *g);

/* Sets the permissions (S2_RWX part of attr) of what is mapped in the range; splits as
 * stage2_unmap. */
int stage2_protect(struct stage2 *s, struct space_locked l, ipa_t at, uint64_t size, s2_attr_t attr,
		   struct s2_pool *pool, struct tlbi_gather *g);

/*
 * ---- which pages were written, which were used ----
 *
 * What counts as written:
 *   S2_HARVEST_WRITABLE  a leaf that may be written. The harvest takes the permission away; the
 *                        fault handler gives it back with stage2_relax. Every format.
 *   S2_HARVEST_MARKED    a leaf with the dirty mark, which the harvest clears. Formats and machines
 *                        that keep it (hw_mmu_caps.accessed_dirty). Whoever writes through an alias
 *                        sets the mark himself, stage2_relax(..., S2_DIRTY).
 */
enum s2_harvest { S2_HARVEST_WRITABLE, S2_HARVEST_MARKED };

/*
 * Sets bit n of `log` when page n of [at, at + size) was written since the last harvest, and begins
 * the next interval. A large leaf counts as a whole; leaves that reach beyond are split as in
 * stage2_unmap. The pages' contents belong to this log once g is settled: until then stores through
 * old translations still land in pages that this log names. Harvests of several ranges may share a
 * gather. -EOPNOTSUPP, -EINVAL, -ENOMEM: nothing is done.
 */
int stage2_harvest(struct stage2 *s, struct space_locked l, ipa_t at, uint64_t size,
		   enum s2_harvest how, uint64_t *log, struct s2_pool *pool, struct tlbi_gather *g);

/*
 * Sets bit n of `log` when page n has the accessed mark, and clears that. A hint: nothing is
 * flushed, so use through a cached translation may go unseen. Large leaves count as a whole, also
 * one that the range cuts.
 */
int stage2_age(struct stage2 *s, struct space_locked l, ipa_t at, uint64_t size, uint64_t *log);

/*
 * Replaces the table of small leaves below [at, at + size of `level`) by one leaf, and settles g:
 * the opposite of stage2_split. Permissions, attributes and who holds which reference stay. -EBUSY
 * unless every entry is a leaf of level - 1, with equal attributes and contiguous, aligned frames;
 * -EAGAIN when a leaf gained a permission meanwhile; -EINVAL.
 */
int stage2_collapse(struct stage2 *s, struct space_locked l, ipa_t at, unsigned level,
		    struct tlbi_gather *g);

/*
 * ---- slots and emulated devices ----
 *
 * What the guest's address space consists of (RAM, devices) is its owner's business: the slots.
 * They have a generation of 64 bits. An MMIO entry holds the device's region id and as many bits of
 * the generation as the format has room for: when the generation moves, every such entry is void at
 * once, without a walk. When those bits wrap, all entries are zapped.
 */
#define S2_SLOTS_CHANGING BIT(63) /* an update is going on: nothing matches, nothing is entered */

/* Before a look at the slots; what was concluded from it holds as long as this stays the same. */
static inline uint64_t stage2_slots_gen(const struct stage2 *s)
{
	return atomic_load64_acq(&s->slots_gen);
}

/*
 * An update of the slots. From begin's return to end no MMIO entry matches, and nobody who looked
 * at the old slots can still install what he concluded (readers have passed; g is settled).
 * Removing RAM: begin, change, stage2_unmap and settle, end.
 */
void stage2_slots_begin(struct stage2 *s, struct space_locked l, struct tlbi_gather *g);
void stage2_slots_end(struct stage2 *s, struct space_locked l);

/*
 * Notes that the page `at` belongs to the emulated device `region`; `gen` was sampled before the
 * slots said so. As stage2_install, and -EAGAIN when the slots have changed since, -EINVAL when the
 * format has no room for the region id. Never over a translation: that is unmapped and settled
 * first. In a reader section.
 */
int stage2_install_mmio(struct stage2 *s, ipa_t at, uint32_t region, uint64_t gen,
			struct s2_pool *pool);

/* True when `at` has an MMIO entry of this generation. In a reader section. */
bool stage2_mmio(const struct stage2 *s, ipa_t at, uint32_t *region);

/* The same for an entry that stage2_lookup found in this reader section. */
bool stage2_mmio_current(const struct stage2 *s, const struct s2_walk *w);

/* Makes the leaf at `at`, if it is larger, one of at most `level`. */
int stage2_split(struct stage2 *s, struct space_locked l, ipa_t at, unsigned level,
		 struct s2_pool *pool, struct tlbi_gather *g);

/* Calls fn for each leaf and MMIO entry in order. Under the lock. */
typedef void s2_visit_fn(void *ctx, ipa_t at, const struct s2_walk *w);
void stage2_walk(const struct stage2 *s, struct space_locked l, s2_visit_fn *fn, void *ctx);

/* Takes the whole tree apart, root included. The space is dead: nobody enters or reads it again. */
void stage2_destroy(struct stage2 *s, struct space_locked l, struct tlbi_gather *g);

/* Formats, one compilation unit each. */
extern const struct stage2_format stage2_npt;	 /* AMD nested paging */
extern const struct stage2_format stage2_ept;	 /* Intel extended page tables */
extern const struct stage2_format stage2_vmsav8; /* arm64 stage 2 */

#endif
