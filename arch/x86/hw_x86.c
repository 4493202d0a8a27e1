/* SPDX-License-Identifier: BSD-2-Clause */
/* arch/hw.h on x86: what the core asks of the machine. */
#include "arch/hw.h"

#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "arch/x86/paging.h"
#include "arch/x86/percpu.h"
#include "arch/x86/svm.h"
#include "arch/x86/traps.h"

#include "lib/check.h"
#include "stage2/stage2.h"

unsigned hw_cpu(void)
{
	return this_cpu()->index;
}

void *hw_frame_ptr(pa_t pa)
{
	return (void *)(DIRECT_MAP_BASE + pa.v);
}

pa_t hw_frame_pa(const void *p)
{
	return pa((uint64_t)p - DIRECT_MAP_BASE);
}

void hw_relax(void)
{
	cpu_relax();
}

void hw_barrier(enum hw_barrier kind)
{
	/*
	 * ENTRIES: stores become visible in order, to walkers as well; only the compiler must not
	 * move them. EXIT: a guest's walks end with the exit (APM vol 2, 15.6). Both: see enum
	 * hw_barrier.
	 */
	(void)kind;
	__asm__ volatile("" ::: "memory");
}

/*
 * With SVM every flush rides on a VMRUN (struct tlbi_enter_cmd), so the core issues no command;
 * VMX's INVEPT and INVVPID will be here.
 */
void hw_tlbi(const struct hw_tlbi_cmd *cmd)
{
	panic("TLB command %d has no meaning with SVM", (int)cmd->op);
}

void hw_load_root(pa_t root, uint32_t tag)
{
	panic("root %#llx of tag %u: x86 loads roots with the guest", (unsigned long long)root.v,
	      tag);
}

/* Caches are coherent with everything that guests and devices do (SDM vol 3, 12.3; APM vol 2, 7.1).
 */
void hw_cache(enum hw_cache_op op, pa_t at, uint64_t size)
{
	(void)op;
	(void)at;
	(void)size;
}

void hw_kick(unsigned pcpu)
{
	const struct percpu *to = percpu_of(pcpu);

	if (to)
		apic_send_ipi(to->apic_id, VEC_KICK);
}

static struct hw_mmu_caps probe(void)
{
	uint32_t x1d = cpuid_checked(0x80000001u, 0).edx;
	uint8_t bits = (uint8_t)cpuid_checked(0x80000008u, 0).eax;
	struct hw_mmu_caps caps = {
		.tags = HW_TAGS_ASID,
		.nr_tags = svm_present() ? svm_nr_asids() : 0,
		.flush_by_tag = svm_present() && svm_has_flush_by_asid(),
		.pa_bits = bits,
		.ipa_bits = bits < 48 ? bits : 48, /* four levels (APM vol 2, 15.25.3) */
		.max_leaf_level = x1d & BIT(26) ? 2 : 1,
		.accessed_dirty =
			true, /* nested tables are walked as user tables: always (15.25.5) */
		.icache_coherent = true,
	};

	return caps;
}

const struct hw_mmu_caps *hw_mmu_caps(void)
{
	static struct hw_mmu_caps caps;

	if (caps.pa_bits == 0)
		caps = probe();
	return &caps;
}

const struct stage2_format *hw_stage2_format(void)
{
	return &stage2_npt;
}
