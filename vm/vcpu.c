/* SPDX-License-Identifier: BSD-2-Clause */
/* Making and counting vCPUs; vm/sched.c runs them. */
#include "vm/vcpu.h"

#include "mm/kalloc.h"

struct vcpu *vcpu_new(struct vm *vm, unsigned id)
{
	struct vcpu *v = kzalloc(sizeof(*v));

	if (!v)
		return NULL;
	v->vm = vm;
	v->id = id;
	tlbi_vcpu_init(&v->tlb);
	return v;
}

void vcpu_free(struct vcpu *v)
{
	kfree(v);
}

uint64_t vcpu_exits_total(const struct vcpu *v)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < VCPU_EXIT_COUNTERS; i++)
		total += v->exits[i];
	return total;
}
