/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The walk of a guest's page tables. First down to the leaf with every check, remembering the
 * entries; then, when the access is allowed, the accessed and dirty bits, each by
 * compare-and-exchange against the value that was checked. A lost race starts the walk again.
 */
#include "arch/x86/guest_walk.h"

#include "arch/x86/regs.h"
#include "lib/errno.h"
#include "lib/util.h"
#include "vm/gcache.h"
#include "vm/guestmem.h"

#define PTE_P	  BIT(0)
#define PTE_W	  BIT(1)
#define PTE_U	  BIT(2)
#define PTE_A	  BIT(5)
#define PTE_D	  BIT(6)
#define PTE_PS	  BIT(7)
#define PTE_G	  BIT(8)
#define PTE_NX	  BIT(63)
#define PTE_PK(e) ((unsigned)((e) >> 59) & 15U)

#define MAX_LEVELS   5
#define MAX_RESTARTS 16

/* Bits last..first of an entry. */
#define BITS(last, first) (((2ULL << (last)) - 1) & ~((1ULL << (first)) - 1))

struct walk_format {
	uint8_t levels;
	uint8_t entry_size; /* bytes */
	uint8_t index_bits; /* per level */
	bool pae;	    /* three levels, the topmost of four entries without rights */
};

struct walk {
	struct guestmem *gm;
	const struct guest_paging *paging;
	struct walk_format format;
	uint64_t linear;
	unsigned access;
	/* What was found, from the top: entries[0] is in the table that CR3 points to. */
	struct {
		uint64_t gpa;
		uint64_t value;
	} entries[MAX_LEVELS];
	unsigned depth;	   /* entries found; the last is the leaf once the walk succeeded */
	unsigned level;	   /* of the last entry: 1 is a page table's */
	uint64_t combined; /* P, W and U: set in all entries; NX: set in one */
	uint64_t gpa;
	uint32_t error;
};

static struct walk_format format_of(const struct guest_paging *p)
{
	if (p->efer & EFER_LMA)
		return (struct walk_format){p->cr4 & CR4_LA57 ? 5 : 4, 8, 9, false};
	if (p->cr4 & CR4_PAE)
		return (struct walk_format){3, 8, 9, true};
	return (struct walk_format){2, 4, 10, false};
}

static uint64_t root_of(const struct walk *w)
{
	uint64_t cr3 = w->paging->cr3;

	if (w->format.pae)
		return cr3 & BITS(31, 5);
	if (w->format.entry_size == 4)
		return cr3 & BITS(31, 12);
	return cr3 & BITS(51, 12);
}

/* The lowest bit that the index at `level` takes from the linear address: also the page's size. */
static unsigned level_shift(const struct walk *w, unsigned level)
{
	return PAGE_SHIFT + (level - 1) * w->format.index_bits;
}

static bool is_leaf(const struct walk *w, uint64_t entry, unsigned level)
{
	if (level == 1)
		return true;
	if (!(entry & PTE_PS))
		return false;
	if (w->format.entry_size == 4)
		return w->paging->cr4 & CR4_PSE;
	return level == 2 || (level == 3 && !w->format.pae);
}

/* Bits that must be zero: APM volume 2, 5.3-5.4; SDM volume 3, 4.3-4.5. */
static uint64_t reserved_32(const struct walk *w, bool large)
{
	unsigned phys = w->paging->phys_bits < 40 ? w->paging->phys_bits : 40;

	/* PSE-36: bits 20:13 of a large page's entry are address bits 39:32. */
	if (!large)
		return 0;
	return BITS(21, 13 + (phys > 32 ? phys - 32U : 0));
}

static uint64_t reserved_64(const struct walk *w, unsigned level, bool leaf)
{
	const struct guest_paging *p = w->paging;
	uint64_t rsvd = p->phys_bits < 52 ? BITS(51, p->phys_bits) : 0;

	if (!(p->efer & EFER_NXE))
		rsvd |= PTE_NX;
	if (w->format.pae)
		rsvd |= BITS(62, 52);
	if (w->format.pae && level == 3)
		return rsvd | PTE_NX | BITS(8, 5) | BITS(2, 1);
	if (level > 3 || (level == 3 && leaf && p->no_page_1g))
		rsvd |= PTE_PS;
	if (p->amd && level >= 3 && !leaf)
		rsvd |= PTE_G;
	if (leaf && level > 1)
		rsvd |= BITS(level_shift(w, level) - 1, 13);
	return rsvd;
}

static uint64_t reserved_bits(const struct walk *w, unsigned level, bool leaf)
{
	if (w->format.entry_size == 4)
		return reserved_32(w, leaf && level > 1);
	return reserved_64(w, level, leaf);
}

static uint64_t entry_address(const struct walk *w, uint64_t entry, unsigned level, bool leaf)
{
	uint64_t address = entry & BITS(51, 12);

	if (!leaf)
		return address;
	if (w->format.entry_size == 4 && level == 2)
		return (entry & BITS(31, 22)) | ((entry >> 13) & 0xff) << 32;
	return align_down(address, BIT(level_shift(w, level)));
}

/*
 * Entries are read eight aligned bytes at a time, which are copied in one access: an
 * entry that another vCPU is changing is seen as it was or as it will be.
 */
static int read_entry(const struct walk *w, unsigned level, uint64_t gpa, uint64_t *entry)
{
	struct gcache *windows = w->paging->windows;
	ipa_t at = {align_down(gpa, 8)};
	uint64_t pair;
	int r = windows ? gcache_read(&windows[level], w->gm, at, &pair, 8)
			: guestmem_read(w->gm, at, &pair, 8);

	if (r != 0)
		return r;
	*entry = w->format.entry_size == 8 ? pair : (uint32_t)(pair >> (gpa & 4 ? 32 : 0));
	return 0;
}

/* The error code's bits that describe the access itself. */
static uint32_t error_of_access(const struct walk *w)
{
	const struct guest_paging *p = w->paging;
	bool tells_fetch = (p->cr4 & CR4_SMEP) || ((p->cr4 & CR4_PAE) && (p->efer & EFER_NXE));
	uint32_t error = 0;

	if (w->access & WALK_WRITE)
		error |= PF_ERR_W;
	if (w->access & WALK_USER)
		error |= PF_ERR_U;
	if ((w->access & WALK_EXEC) && tells_fetch)
		error |= PF_ERR_I;
	return error;
}

static enum walk_result fault(struct walk *w, uint32_t bits)
{
	w->error = error_of_access(w) | bits;
	return WALK_FAULT;
}

/* Down to the leaf: w->entries, w->combined and w->gpa. */
static enum walk_result descend(struct walk *w)
{
	uint64_t table = root_of(w);
	bool leaf = false;

	w->combined = PTE_P | PTE_W | PTE_U;
	w->depth = 0;
	for (unsigned level = w->format.levels; !leaf; level--) {
		unsigned shift = level_shift(w, level);
		uint64_t index = (w->linear >> shift) & (BIT(w->format.index_bits) - 1);
		uint64_t gpa = table + index * w->format.entry_size;
		uint64_t entry;

		w->gpa = gpa;
		if (read_entry(w, level, gpa, &entry) != 0)
			return WALK_NO_RAM;
		if (!(entry & PTE_P))
			return fault(w, 0);
		leaf = is_leaf(w, entry, level);
		if (entry & reserved_bits(w, level, leaf))
			return fault(w, PF_ERR_P | PF_ERR_RSVD);
		w->entries[w->depth].gpa = gpa;
		w->entries[w->depth++].value = entry;
		w->level = level;
		if (!w->format.pae || level < 3)
			w->combined =
				(w->combined & entry & ~PTE_NX) | ((w->combined | entry) & PTE_NX);
		table = entry_address(w, entry, level, leaf);
	}
	w->gpa = table | (w->linear & (BIT(level_shift(w, w->level)) - 1));
	return WALK_OK;
}

/* The access-disable and write-disable bits of the page's key: SDM volume 3, 4.6.2. */
static bool key_denies(const struct walk *w)
{
	const struct guest_paging *p = w->paging;
	unsigned shift = 2 * PTE_PK(w->entries[w->depth - 1].value);
	bool binding_write =
		(w->access & WALK_WRITE) && ((w->access & WALK_USER) || (p->cr0 & CR0_WP));

	if (!(p->efer & EFER_LMA) || !(p->cr4 & CR4_PKE))
		return false;
	if (!(w->combined & PTE_U) || (w->access & WALK_EXEC))
		return false;
	return (p->pkru >> shift & 1) || (binding_write && (p->pkru >> shift & 2));
}

/* SDM volume 3, 4.6.1. Called when no entry was missing or malformed. */
static bool rights_deny(const struct walk *w)
{
	const struct guest_paging *p = w->paging;
	bool user_page = w->combined & PTE_U;
	bool exec = w->access & WALK_EXEC;

	if (exec && (w->combined & PTE_NX))
		return true;
	if (w->access & WALK_USER) {
		if (!user_page)
			return true;
	} else if (user_page) {
		if (exec && (p->cr4 & CR4_SMEP))
			return true;
		if (!exec && (p->cr4 & CR4_SMAP) && !(w->access & WALK_AC))
			return true;
	}
	return (w->access & WALK_WRITE) && !(w->combined & PTE_W) &&
	       ((w->access & WALK_USER) || (p->cr0 & CR0_WP));
}

/* 0, -EAGAIN when an entry is no longer what was checked, -EFAULT. */
static int set_accessed_dirty(const struct walk *w)
{
	for (unsigned i = 0; i < w->depth; i++) {
		uint64_t old = w->entries[i].value;
		uint64_t want = old | PTE_A;
		int r;

		if (w->format.pae && i == 0)
			continue;
		if (i == w->depth - 1 && (w->access & WALK_WRITE))
			want |= PTE_D;
		if (want == old)
			continue;
		r = guestmem_cmpxchg(w->gm, ipa(w->entries[i].gpa), w->format.entry_size, &old,
				     want);
		if (r != 0)
			return r;
	}
	return 0;
}

static enum walk_result walk_once(struct walk *w, bool *again)
{
	enum walk_result r = descend(w);
	bool key;
	int e;

	*again = false;
	if (r != WALK_OK)
		return r;
	key = key_denies(w);
	if (key || rights_deny(w))
		return fault(w, PF_ERR_P | (key ? PF_ERR_PK : 0));
	e = set_accessed_dirty(w);
	*again = e == -EAGAIN;
	return e == 0 ? WALK_OK : WALK_NO_RAM;
}

enum walk_result guest_walk(struct guestmem *gm, const struct guest_paging *paging, uint64_t linear,
			    unsigned access, uint64_t *gpa, uint32_t *error)
{
	struct walk w = {.gm = gm, .paging = paging, .linear = linear, .access = access};
	bool again = true;

	if (!(paging->cr0 & CR0_PG)) {
		*gpa = linear;
		return WALK_OK;
	}
	w.format = format_of(paging);
	for (unsigned i = 0; i < MAX_RESTARTS; i++) {
		enum walk_result r = walk_once(&w, &again);

		if (again)
			continue;
		*gpa = w.gpa;
		*error = w.error;
		return r;
	}
	return WALK_CONTEND;
}
