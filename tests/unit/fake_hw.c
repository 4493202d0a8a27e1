/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hardware interface of one pCPU and plain atomics, for tests that simulate none: weak, so that
 * a harness that is linked as well wins.
 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "arch/hw.h"
#include "lib/atomic.h"

__attribute__((weak)) unsigned hw_cpu(void)
{
	return 0;
}

__attribute__((weak)) void hw_relax(void)
{
}

__attribute__((weak)) void hw_kick(unsigned pcpu)
{
	(void)pcpu;
}

__attribute__((weak)) uint64_t host_atomic_load(const void *p, unsigned size, int order)
{
	uint64_t v = 0;

	(void)order;
	memcpy(&v, p, size);
	return v;
}

__attribute__((weak)) void host_atomic_store(void *p, unsigned size, uint64_t v, int order)
{
	(void)order;
	memcpy(p, &v, size);
}

__attribute__((weak)) uint64_t host_atomic_xchg(void *p, unsigned size, uint64_t v)
{
	uint64_t old = host_atomic_load(p, size, 0);

	host_atomic_store(p, size, v, 0);
	return old;
}

__attribute__((weak)) uint64_t host_atomic_add(void *p, unsigned size, uint64_t v)
{
	return host_atomic_xchg(p, size, host_atomic_load(p, size, 0) + v);
}

__attribute__((weak)) uint64_t host_atomic_or(void *p, unsigned size, uint64_t v)
{
	return host_atomic_xchg(p, size, host_atomic_load(p, size, 0) | v);
}

__attribute__((weak)) uint64_t host_atomic_and(void *p, unsigned size, uint64_t v)
{
	return host_atomic_xchg(p, size, host_atomic_load(p, size, 0) & v);
}
