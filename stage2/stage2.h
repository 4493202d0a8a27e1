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
typedef uint32_t s2_attr_t;

/* What an entry is. The invalid ones are a closed set: hardware faults on all of them. */
enum s2_kind {
	S2_EMPTY,  /* nothing; carries the epoch that must be settled before it is filled again */
	S2_LOCKED, /* being replaced (break before make): retry */
	S2_FROZEN, /* in a dead table: start over from the root */
	S2_MMIO,   /* emulated device: region and generation */
	S2_TABLE,
	S2_LEAF,
};

struct stage2_format;

struct stage2 {
	struct space space;
	const struct stage2_format *fmt;
	atomic_u64 tables; /* table frames linked, root included */
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

/* Bytes that an entry of `level` translates. */
static inline uint64_t s2_level_size(unsigned level)
{
	return PAGE_SIZE << (S2_LEVEL_BITS * level);
}

/* A leaf of `level` has 1 << s2_level_order(level) frames. */
static inline unsigned s2_level_order(unsigned level)
{
	return S2_LEVEL_BITS * level;
}

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

/* Sets the permissions (S2_RWX part of attr) of what is mapped in the range; splits as
 * stage2_unmap. */
int stage2_protect(struct stage2 *s, struct space_locked l, ipa_t at, uint64_t size, s2_attr_t attr,
		   struct s2_pool *pool, struct tlbi_gather *g);

/* Makes the leaf at `at`, if it is larger, one of at most `level`. */
int stage2_split(struct stage2 *s, struct space_locked l, ipa_t at, unsigned level,
		 struct s2_pool *pool, struct tlbi_gather *g);

/* Calls fn for each leaf and MMIO entry in order. Under the lock. */
typedef void s2_visit_fn(void *ctx, ipa_t at, const struct s2_walk *w);
void stage2_walk(const struct stage2 *s, struct space_locked l, s2_visit_fn *fn, void *ctx);

/* Takes the whole tree apart, root included. The space is dead: nobody enters or reads it again. */
void stage2_destroy(struct stage2 *s, struct space_locked l, struct tlbi_gather *g);

/* Formats, one compilation unit each. */
extern const struct stage2_format stage2_npt; /* AMD nested paging */

#endif
