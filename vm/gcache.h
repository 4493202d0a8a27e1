/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A window of the hypervisor's onto one page of guest memory: for what is accessed again and again,
 * page tables that are walked for the guest, rings, clock records. It spares the search of the
 * slots and the walk of the stage-2 table, not the rules.
 *
 * A window is one more translation. It is valid as long as the space's epoch is the one that was
 * sampled before its frame was looked up: any reduction (unmapping, RW -> R, another frame, a
 * cleared dirty mark) moves it, and so does any change of slots (stage2_slots_begin). It is checked
 * and used inside one reader section: a reduction that the check does not see waits for the access
 * to end, before the frame goes to somebody else or a log is read.
 *
 * A window belongs to whoever serialises its use (a vCPU). The zero window is an empty one; no
 * window needs to be given back.
 */
#ifndef SLUICE_VM_GCACHE_H
#define SLUICE_VM_GCACHE_H

#include <stddef.h>
#include <stdint.h>

#include "mm/types.h"

struct guestmem;

struct gcache {
	uint64_t space; /* its id: guest memory is another one after a reset; 0: empty */
	uint64_t epoch;
	ipa_t page;
	void *frame;   /* hypervisor's address of the page */
	bool writable; /* with the dirty mark where that counts */
};

/*
 * As guestmem_read and guestmem_write: any length, populating, -EFAULT outside RAM. What lies
 * within a page goes through the window, which is refreshed when it does not fit.
 */
int gcache_read(struct gcache *c, struct guestmem *gm, ipa_t ipa, void *dst, size_t n);
int gcache_write(struct gcache *c, struct guestmem *gm, ipa_t ipa, const void *src, size_t n);

/*
 * From any context, an interrupt handler's too: waits for nothing and populates nothing. -EAGAIN
 * when the window is not valid for [ipa, ipa + n), or this pCPU is in a reader section already; the
 * caller leaves it to somebody who may do the above.
 */
int gcache_try_read(struct gcache *c, struct guestmem *gm, ipa_t ipa, void *dst, size_t n);
int gcache_try_write(struct gcache *c, struct guestmem *gm, ipa_t ipa, const void *src, size_t n);

#endif
