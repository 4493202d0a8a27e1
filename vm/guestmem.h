/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest's memory: slots of RAM, a stage-2 space that is the only map from guest to machine
 * frames, and a promise of frames that covers all of both. Frames are populated when first touched,
 * zeroed before.
 *
 * Any pCPU may call any of these at any time between init and destroy, except where said; none may
 * be called between tlbi_enter and tlbi_exit.
 */
#ifndef SLUICE_VM_GUESTMEM_H
#define SLUICE_VM_GUESTMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/atomic.h"
#include "mm/frames.h"
#include "mm/types.h"
#include "stage2/stage2.h"

#define GM_MAX_SLOTS   16
#define GM_MAX_DEVICES 16
#define GM_NO_REGION   UINT32_MAX

#define GM_READ	 1u
#define GM_WRITE 2u
#define GM_EXEC	 4u

struct gm_slot {
	ipa_t base;
	uint64_t size;
};

struct gm_device {
	ipa_t base; /* whole pages */
	uint64_t size;
	uint32_t region;
};

struct guestmem {
	struct stage2 s2;
	struct frames_reserve reserve; /* whole RAM and worst-case tables, less what is in use */
	struct gm_slot slots[GM_MAX_SLOTS];
	struct gm_device devices[GM_MAX_DEVICES];
	atomic_u32 nr_slots, nr_devices; /* change with s2's slot generation */
	atomic_u64 populated;		 /* frames */
	uint64_t ram_bytes;
	uint8_t max_level; /* largest leaf a fault populates: 0 = 4K, 1 = 2M (the default), 2 = 1G
			    */
};

enum gm_fault {
	GM_RESOLVED, /* mapped now (or already): enter again */
	GM_MMIO,     /* no RAM there: the address belongs to a device or to nobody */
	GM_RETRY,    /* lost a race, or an older translation is still being flushed: enter again */
	GM_ERROR,    /* out of promised memory or a broken table: logged, end the guest */
};

/* 0, or a negative errno and the reason in err. */
int guestmem_init(struct guestmem *gm, char *err, size_t err_size);

/*
 * Adds RAM [base, base + size), page-aligned, and reserves its frames and tables. -ENOMEM when
 * memory does not suffice, -EINVAL when the range is empty, unaligned, overlaps a slot or exceeds
 * what the tables can translate, -ENOSPC when the slots are used up; then nothing has changed. Not
 * while a vCPU runs.
 */
int guestmem_add_ram(struct guestmem *gm, ipa_t base, uint64_t size);

/*
 * Makes the pages around [base, base + size) known as those of the emulated device `region`, a
 * number of the board's: a fault there leaves an MMIO entry, and the next one finds the region in
 * it. -EINVAL, -ENOSPC, -ENOMEM (tables for the entries are reserved); then nothing has changed,
 * and faults there are MMIO of no known region. RAM wins where both are. Not while a vCPU runs.
 */
int guestmem_add_device(struct guestmem *gm, ipa_t base, uint64_t size, uint32_t region);

/*
 * Resolves a stage-2 fault at `ipa`. The leaf is the largest up to max_level that lies in the slot,
 * that no finer table excludes and for which there is a contiguous block.
 */
enum gm_fault guestmem_fault(struct guestmem *gm, ipa_t ipa, unsigned access);

/*
 * The same, and for GM_MMIO *region is the device's or GM_NO_REGION. From the second time on the
 * table's entry says it, and neither slots nor devices are searched.
 */
enum gm_fault guestmem_resolve(struct guestmem *gm, ipa_t ipa, unsigned access, uint32_t *region);

/*
 * The hypervisor's own access, any length. -EFAULT when any byte is outside RAM, then nothing was
 * done. Writing populates; what was never populated reads as zero and stays so.
 */
int guestmem_read(struct guestmem *gm, ipa_t ipa, void *dst, size_t n);
int guestmem_write(struct guestmem *gm, ipa_t ipa, const void *src, size_t n);

/* Zeroes; leaves frames that were never populated alone, they will be zero. */
int guestmem_zero(struct guestmem *gm, ipa_t ipa, uint64_t n);

/*
 * Atomic compare-and-exchange of 1, 2, 4 or 8 naturally aligned bytes. 0 when they were *expected;
 * -EAGAIN and *expected is what was found; -EFAULT outside RAM; -EINVAL for a size or alignment.
 */
int guestmem_cmpxchg(struct guestmem *gm, ipa_t ipa, unsigned size, uint64_t *expected,
		     uint64_t desired);

/* True when [ipa, ipa + size) lies in RAM (adjoining slots count as one). */
bool guestmem_is_ram(const struct guestmem *gm, ipa_t ipa, uint64_t size);

uint64_t guestmem_ram_bytes(const struct guestmem *gm);
uint64_t guestmem_populated_pages(const struct guestmem *gm);

/* The space to give to tlbi_enter, and the root for nCR3, EPTP or VTTBR. */
struct space *guestmem_space(struct guestmem *gm);
pa_t guestmem_root(const struct guestmem *gm);

/*
 * Gives everything back: frames, tables and the rest of the promise. No vCPU of this memory may run
 * again. Nothing is flushed: whoever gets the tags or the root next flushes then. gm may be
 * initialised again.
 */
void guestmem_destroy(struct guestmem *gm);

#endif
