/* SPDX-License-Identifier: BSD-2-Clause */
/* A VM's stoppable clock. */
#include "vm/clock.h"

#include "arch/machine.h"

void vclock_reset(struct vclock *c)
{
	*c = (struct vclock){0};
}

void vclock_start(struct vclock *c)
{
	if (c->running)
		return;
	c->base = machine_now() - c->shown;
	c->running = true;
}

void vclock_stop(struct vclock *c)
{
	if (!c->running)
		return;
	c->shown = vclock_now(c);
	c->running = false;
}

uint64_t vclock_from_host(const struct vclock *c, uint64_t host_ns)
{
	uint64_t shown;

	if (!c->running)
		return c->shown;
	/* base may lie before the host's 0, as a number just below 2^64 (a restored VM whose clock
	 * is ahead of this machine's): the difference is right modulo 2^64 either way, and negative
	 * when the host time is before the VM's beginning. */
	shown = host_ns - c->base;
	return (int64_t)shown < 0 ? 0 : shown;
}

uint64_t vclock_now(const struct vclock *c)
{
	return vclock_from_host(c, machine_now());
}

uint64_t vclock_to_host(const struct vclock *c, uint64_t vm_ns)
{
	bool ahead = (int64_t)c->base < 0; /* base is negative: the VM is older than the host */
	uint64_t host;

	if (!c->running || vm_ns == VCLOCK_NEVER)
		return VCLOCK_NEVER;
	if (!__builtin_add_overflow(c->base, vm_ns, &host))
		return ahead ? 0 : host; /* negative without a carry: before the host's 0 */
	return ahead ? host : VCLOCK_NEVER;
}
