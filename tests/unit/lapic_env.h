/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests of the local and I/O APIC stand on: a VM's worth of local APICs on the machine of
 * the device tests (tests/host/devrig.h), and vCPUs that count what their local APICs ask of them.
 * Each test program includes it once.
 */
#ifndef SLUICE_TESTS_UNIT_LAPIC_ENV_H
#define SLUICE_TESTS_UNIT_LAPIC_ENV_H

#include <stdlib.h>

#include "arch/machine.h"
#include "tests/host/devrig.h"
#include "tests/tap.h"
#include "vm/dev/lapic.h"

#define TSC_PER_NS 2 /* the guest's TSC runs at 2 GHz */
#define ENV_CPUS   8

static struct lapic_bus env_bus;

struct env_vcpu {
	struct lapic apic;
	unsigned kicks, nmis, inits, sipis;
	uint8_t sipi_vector;
};

static struct env_vcpu cpu[ENV_CPUS];

static void env_kick(void *vcpu)
{
	((struct env_vcpu *)vcpu)->kicks++;
}

static void env_nmi(void *vcpu)
{
	((struct env_vcpu *)vcpu)->nmis++;
}

static void env_init(void *vcpu)
{
	((struct env_vcpu *)vcpu)->inits++;
}

static void env_sipi(void *vcpu, uint8_t vector)
{
	((struct env_vcpu *)vcpu)->sipis++;
	((struct env_vcpu *)vcpu)->sipi_vector = vector;
}

static uint64_t env_tsc_now(void *vcpu)
{
	(void)vcpu;
	return vclock_now(&rig_clock) * TSC_PER_NS;
}

static uint64_t env_tsc_to_host(void *vcpu, uint64_t tsc)
{
	if (tsc <= env_tsc_now(vcpu))
		return 0;
	return vclock_to_host(&rig_clock, tsc / TSC_PER_NS + tsc % TSC_PER_NS);
}

static const struct lapic_ops env_ops = {
	.kick = env_kick,
	.nmi = env_nmi,
	.init = env_init,
	.sipi = env_sipi,
	.tsc_now = env_tsc_now,
	.tsc_to_host = env_tsc_to_host,
};

static struct lapic_config env_config(unsigned i)
{
	return (struct lapic_config){
		.bus = &env_bus,
		.ops = &env_ops,
		.vcpu = &cpu[i],
		.clock = &rig_clock,
		.id = i,
		.phys_bits = 40,
		.features = LAPIC_HAS_X2APIC | LAPIC_HAS_TSC_DEADLINE,
		.bsp = i == 0,
	};
}

/* `count` fresh local APICs with IDs 0.. and a running clock. */
static void env_setup(unsigned count)
{
	rig_reset();
	lapic_bus_init(&env_bus);
	memset(cpu, 0, sizeof(cpu));
	for (unsigned i = 0; i < count; i++) {
		struct lapic_config config = env_config(i);

		if (lapic_init(&cpu[i].apic, &config) != 0)
			abort();
	}
}

__attribute__((unused)) static uint32_t rd(unsigned i, unsigned off)
{
	return (uint32_t)lapic_mmio_read(&cpu[i].apic, off, 4);
}

__attribute__((unused)) static void wr(unsigned i, unsigned off, uint32_t val)
{
	lapic_mmio_write(&cpu[i].apic, off, 4, val);
}

/* Enabled in SVR, with all its LVT entries masked: takes interrupts. */
__attribute__((unused)) static void env_enable(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		wr(i, 0xf0, 0x1ff);
}

/* Takes what is deliverable at vCPU `i`, as its run loop would; -1 when nothing is. */
__attribute__((unused)) static int take(unsigned i)
{
	int vector = lapic_pending(&cpu[i].apic);

	if (vector >= 0)
		lapic_ack(&cpu[i].apic, vector);
	return vector;
}

#endif
