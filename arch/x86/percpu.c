/* SPDX-License-Identifier: BSD-2-Clause */
/* Per-CPU structures and what the CPU itself wants of them: descriptor table, task state, GS base.
 */
#include "arch/x86/percpu.h"

#include "arch/hw.h"
#include "arch/machine.h"
#include "arch/x86/cpu.h"
#include "lib/atomic.h"
#include "lib/check.h"
#include "lib/log.h"
#include "lib/util.h"

/* boot/x86/entry.asm knows where the boot CPU's stack ends, arch/x86 code where `self` is. */
_Static_assert(offsetof(struct percpu_stacks, guard_nmi) == 4096 + 16384,
	       "entry.asm: boot_stack_top");
_Static_assert(offsetof(struct percpu, self) == 0, "this_cpu() reads gs:0");
_Static_assert(sizeof(struct tss) == 104, "SDM 3A figure 8-11");

#define DESC_CODE64    0x00af9b000000ffffULL /* present, ring 0, executable, 64-bit, accessed */
#define DESC_DATA      0x00cf93000000ffffULL /* present, ring 0, writable, accessed */
#define DESC_TSS_AVAIL 0x0000890000000000ULL

struct percpu boot_percpu;
struct percpu_stacks boot_stacks;

static atomic_u64 cpus[MAX_PCPUS]; /* addresses */

struct percpu *percpu_of(unsigned index)
{
	return index < MAX_PCPUS ? (struct percpu *)(uintptr_t)atomic_load64_acq(&cpus[index])
				 : NULL;
}

static uint64_t stack_top(uint8_t *stack, size_t size)
{
	return (uint64_t)(uintptr_t)(stack + size);
}

/* A system descriptor in long mode takes two slots (SDM 3A figure 8-4). */
static void set_tss_descriptor(struct percpu *p)
{
	uint64_t base = (uint64_t)(uintptr_t)p->tss, limit = sizeof(struct tss) - 1;

	p->gdt[SEL_TSS / 8] =
		DESC_TSS_AVAIL | limit | (base & 0xffffff) << 16 | (base >> 24 & 0xff) << 56;
	p->gdt[SEL_TSS / 8 + 1] = base >> 32;
}

void percpu_init(struct percpu *p, struct percpu_stacks *stacks, unsigned index, uint32_t apic_id)
{
	CHECK(index < MAX_PCPUS);
	p->self = p;
	p->index = index;
	p->apic_id = apic_id;
	p->stacks = stacks;
	p->tss = &p->tss_storage;
	p->timer_deadline = MACHINE_NEVER;
	p->poll_deadline = MACHINE_NEVER;
	p->timer_armed = MACHINE_NEVER;
	p->gdt[SEL_CODE / 8] = DESC_CODE64;
	p->gdt[SEL_DATA / 8] = DESC_DATA;
	p->tss_storage.rsp[0] = stack_top(stacks->main, sizeof(stacks->main));
	p->tss_storage.ist[IST_NMI - 1] = stack_top(stacks->nmi, sizeof(stacks->nmi));
	p->tss_storage.ist[IST_DF - 1] = stack_top(stacks->df, sizeof(stacks->df));
	p->tss_storage.ist[IST_MC - 1] = stack_top(stacks->mc, sizeof(stacks->mc));
	p->tss_storage.iomap = sizeof(struct tss);
	set_tss_descriptor(p);
	atomic_store64_rel(&cpus[index], (uint64_t)(uintptr_t)p);
}

void percpu_load(struct percpu *p)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) gdtr = {sizeof(p->gdt) - 1, (uint64_t)(uintptr_t)p->gdt};

	__asm__ volatile("lgdt %0\n\t"
			 "pushq %1\n\t"
			 "leaq 1f(%%rip), %%rax\n\t"
			 "pushq %%rax\n\t"
			 "lretq\n"
			 "1:\n\t"
			 "movl %2, %%eax\n\t"
			 "movl %%eax, %%ds\n\t"
			 "movl %%eax, %%es\n\t"
			 "movl %%eax, %%ss\n\t"
			 "xorl %%eax, %%eax\n\t"
			 "movl %%eax, %%fs\n\t"
			 "movl %%eax, %%gs\n\t"
			 "lldt %%ax\n\t"
			 "movl %3, %%eax\n\t"
			 "ltr %%ax"
			 :
			 : "m"(gdtr), "i"(SEL_CODE), "i"(SEL_DATA), "i"(SEL_TSS)
			 : "rax", "memory");
	wrmsr(MSR_FS_BASE, 0);
	wrmsr(MSR_KERNEL_GS_BASE, 0);
	wrmsr(MSR_GS_BASE, (uint64_t)(uintptr_t)p);
}

void percpu_log_oddities(void)
{
	struct percpu *p = this_cpu();

	if (p->nmi_count != p->nmi_logged) {
		p->nmi_logged = p->nmi_count;
		log_warn("cpu %u: NMI for an unknown reason, %u so far", p->index, p->nmi_count);
	}
	if (p->spurious_count != p->spurious_logged) {
		p->spurious_logged = p->spurious_count;
		log_debug("cpu %u: %u spurious interrupts so far", p->index, p->spurious_count);
	}
	if (p->apic_errors & ~p->apic_errors_logged) {
		p->apic_errors_logged |= p->apic_errors;
		log_warn("cpu %u: local APIC error status 0x%x", p->index, p->apic_errors);
	}
}
