/* SPDX-License-Identifier: BSD-2-Clause */
/* Which frames memory and caches may disagree about. See mm/ledger.h. */
#include "mm/ledger.h"

#include "arch/hw.h"
#include "lib/atomic.h"
#include "lib/check.h"
#include "lib/util.h"
#include "mm/frame.h"
#include "mm/frames.h"

bool ledger_on;
static bool exec_coherent; /* instruction fetch sees what is written */
static atomic_u64 ops, bytes, exec_bytes, spared;

void ledger_init(const struct hw_mmu_caps *caps)
{
	ledger_on = caps->tags == HW_TAGS_VMID && !caps->fwb;
	exec_coherent = caps->icache_coherent;
	atomic_store64(&ops, 0);
	atomic_store64(&bytes, 0);
	atomic_store64(&exec_bytes, 0);
	atomic_store64(&spared, 0);
}

static void clean(pa_t at, uint64_t size)
{
	hw_cache(HW_CACHE_CLEAN_INVALIDATE, at, size);
	atomic_add64(&ops, 1);
	atomic_add64(&bytes, size);
}

static atomic_u8 *note_of(pa_t pa)
{
	return &frame_at(pa)->ledger;
}

static void note(pa_t at, unsigned order, uint8_t what)
{
	for (uint64_t i = 0; i < BIT(order); i++)
		atomic_store8_rel(note_of(pa(at.v + i * PAGE_SIZE)), what);
}

void ledger_prepare(pa_t pa, unsigned order)
{
	uint64_t size = PAGE_SIZE << order;

	if (!exec_coherent) {
		hw_cache(HW_CACHE_INSTRUCTIONS, pa, size);
		atomic_add64(&exec_bytes, size);
	}
	if (!ledger_on)
		return;
	clean(pa, size);
	note(pa, order, LEDGER_CLEAN);
}

void ledger_map(pa_t at, unsigned order)
{
	if (!ledger_on)
		return;
	for (uint64_t i = 0; i < BIT(order); i++) {
		atomic_u8 *n = note_of(pa(at.v + i * PAGE_SIZE));

		CHECK(atomic_load8(n) != LEDGER_UNKNOWN);
		atomic_store8_rel(n, LEDGER_MAYBE_NC);
	}
}

void ledger_unmap(pa_t pa, unsigned order, bool used, bool now)
{
	if (!ledger_on)
		return;
	if (!used && frames_exclusive(pa, order)) {
		note(pa, order, LEDGER_CLEAN);
		atomic_add64(&spared, PAGE_SIZE << order);
	} else if (now) {
		clean(pa, PAGE_SIZE << order);
	}
}

void ledger_keep(pa_t at, unsigned order)
{
	uint64_t known = 0;

	if (!ledger_on)
		return;
	while (known < BIT(order) && ledger_clean(pa(at.v + known * PAGE_SIZE)))
		known++;
	if (known == BIT(order))
		return;
	clean(at, PAGE_SIZE << order);
	note(at, order, LEDGER_CLEAN);
}

/*
 * Lines that were fetched by chance before the guest stored past them are invalidated, those that
 * it made dirty written back.
 */
void ledger_read(pa_t at, uint64_t size)
{
	if (ledger_on && ledger_maybe_nc(at))
		clean(at, size);
}

void ledger_wrote(pa_t at, uint64_t size)
{
	if (!ledger_on)
		return;
	if (ledger_maybe_nc(at)) {
		clean(at, size);
		return;
	}
	for (uint64_t p = align_down(at.v, PAGE_SIZE); p < at.v + size; p += PAGE_SIZE)
		atomic_store8_rel(note_of(pa(p)), LEDGER_UNKNOWN);
}

struct ledger_stat ledger_stat(void)
{
	return (struct ledger_stat){
		.ops = atomic_load64(&ops),
		.bytes = atomic_load64(&bytes),
		.exec_bytes = atomic_load64(&exec_bytes),
		.spared = atomic_load64(&spared),
	};
}

bool ledger_clean(pa_t pa)
{
	return atomic_load8(note_of(pa)) == LEDGER_CLEAN;
}

bool ledger_maybe_nc(pa_t pa)
{
	return atomic_load8(note_of(pa)) == LEDGER_MAYBE_NC;
}
