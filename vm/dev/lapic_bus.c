/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages to local APICs: who is meant, who takes it (SDM vol 3 "Issuing Interprocessor
 * Interrupts", "Determining IPI Destination"; APM vol 2 16.6).
 */
#include "lib/errno.h"
#include "lib/string.h"
#include "lib/util.h"
#include "vm/dev/lapic_internal.h"

/* The route word. */
#define ROUTE_LDR_SHIFT	  8
#define ROUTE_TPR_SHIFT	  16
#define ROUTE_MODEL_SHIFT 24 /* DFR bits 28-31 */
#define ROUTE_ENABLED	  BIT(28)
#define ROUTE_X2	  BIT(29)
#define ROUTE_SOFT	  BIT(30) /* enabled in SVR: takes fixed and lowest priority */

#define MODEL_FLAT    0xfU
#define MODEL_CLUSTER 0x0U

#define MSI_BASE	    0xfee00000ULL
#define MSI_REDIRECT	    BIT(3)
#define MSI_LOGICAL	    BIT(2)
#define MSI_DEST_SHIFT	    12
#define MSI_DATA_MODE_SHIFT 8
#define MSI_DATA_ASSERT	    BIT(14)
#define MSI_DATA_LEVEL	    BIT(15)

void lapic_bus_init(struct lapic_bus *bus)
{
	memset(bus, 0, sizeof(*bus));
}

int lapic_bus_add(struct lapic_bus *bus, struct lapic *a)
{
	for (unsigned i = 0; i < bus->count; i++)
		if (bus->apic[i]->c.id == a->c.id)
			return -EEXIST;
	if (bus->count == LAPIC_BUS_MAX)
		return -ENOSPC;
	bus->apic[bus->count++] = a;
	return 0;
}

uint64_t lapic_route_word(const struct lapic *a)
{
	uint64_t route = a->s.id & 0xff; /* IDs are below 255: the low byte is the x2APIC ID too */

	route |= (uint64_t)(a->s.ldr >> 24) << ROUTE_LDR_SHIFT;
	route |= (uint64_t)(a->s.tpr & 0xff) << ROUTE_TPR_SHIFT;
	route |= (uint64_t)(a->s.dfr >> 28) << ROUTE_MODEL_SHIFT;
	if (is_enabled(a))
		route |= ROUTE_ENABLED;
	if (is_x2(a))
		route |= ROUTE_X2;
	if (is_soft_enabled(a))
		route |= ROUTE_SOFT;
	return route;
}

/* x2APIC: cluster in the upper half, a set of its 16 members in the lower. */
static bool logical_x2(uint32_t id, uint32_t dest)
{
	return dest >> 16 == id >> 4 && (dest & BIT(id & 0xf)) != 0;
}

static bool logical_xapic(uint64_t route, uint32_t dest)
{
	uint32_t ldr = (uint32_t)(route >> ROUTE_LDR_SHIFT) & 0xff;

	switch ((uint32_t)(route >> ROUTE_MODEL_SHIFT) & 0xf) {
	case MODEL_FLAT:
		return (dest & ldr) != 0;
	case MODEL_CLUSTER:
		return dest >> 4 == ldr >> 4 && (dest & ldr & 0xf) != 0;
	default: /* the model is undefined: nothing but broadcasts reach it */
		return false;
	}
}

/*
 * A message with an xAPIC destination reaches a local APIC in x2APIC mode by its zero-extended
 * value: this is how I/O APIC and MSI get there without interrupt remapping.
 */
static bool matches(uint64_t route, const struct lapic_msg *msg)
{
	uint32_t id = route & 0xff;

	if (!(route & ROUTE_ENABLED))
		return false;
	if (msg->dest == (msg->wide ? UINT32_MAX : 0xffU))
		return true;
	if (!msg->logical)
		return msg->dest == id;
	if (route & ROUTE_X2)
		return logical_x2(id, msg->dest);
	return msg->dest <= 0xff && logical_xapic(route, msg->dest);
}

static bool is_meant(const struct lapic *a, uint64_t route, const struct lapic_msg *msg,
		     const struct lapic *self, enum lapic_shorthand shorthand)
{
	switch (shorthand) {
	case SHORTHAND_SELF:
		return a == self;
	case SHORTHAND_ALL:
		return (route & ROUTE_ENABLED) != 0;
	case SHORTHAND_OTHERS:
		return (route & ROUTE_ENABLED) && a != self;
	default:
		return matches(route, msg);
	}
}

/* A local APIC that is meant: false when it does not take the message. */
static bool accept(struct lapic *a, uint64_t route, const struct lapic_msg *msg)
{
	switch (msg->mode) {
	case LAPIC_FIXED:
	case LAPIC_LOWEST:
		if (!(route & ROUTE_SOFT))
			return false;
		if (msg->vector < MIN_VECTOR) {
			lapic_error(a, ESR_RECEIVE_ILLEGAL_VECTOR);
			return false;
		}
		lapic_request(a, msg->vector, msg->level);
		return true;
	case LAPIC_SMI:
		return true;
	case LAPIC_NMI:
		a->c.ops->nmi(a->c.vcpu);
		return true;
	case LAPIC_INIT:
		a->c.ops->init(a->c.vcpu);
		return true;
	case LAPIC_STARTUP:
		a->c.ops->sipi(a->c.vcpu, msg->vector);
		return true;
	case LAPIC_EXTINT:
		lapic_raise_work(a, LAPIC_WORK_EXTINT);
		return true;
	default: /* reserved */
		return false;
	}
}

/* The lowest task priority class takes it; among equals the one whose turn it is. */
static unsigned send_lowest(struct lapic_bus *bus, const struct lapic_msg *msg,
			    const struct lapic *self, enum lapic_shorthand shorthand)
{
	unsigned turn = atomic_load32(&bus->turn) % LAPIC_BUS_MAX;
	unsigned best = 0;
	uint64_t best_prio = UINT64_MAX;

	for (unsigned n = 0; n < bus->count; n++) {
		unsigned i = (turn + n) % bus->count;
		uint64_t route = atomic_load64(&bus->apic[i]->route);
		uint64_t prio = route >> ROUTE_TPR_SHIFT & 0xf0;

		if ((route & ROUTE_SOFT) && prio < best_prio &&
		    is_meant(bus->apic[i], route, msg, self, shorthand)) {
			best = i;
			best_prio = prio;
		}
	}
	if (best_prio == UINT64_MAX)
		return 0;
	atomic_store32(&bus->turn, best + 1); /* a lost update costs fairness once */
	return accept(bus->apic[best], atomic_load64(&bus->apic[best]->route), msg);
}

unsigned lapic_bus_send_from(struct lapic_bus *bus, const struct lapic_msg *msg,
			     const struct lapic *self, enum lapic_shorthand shorthand)
{
	unsigned taken = 0;

	if (msg->mode == LAPIC_LOWEST)
		return send_lowest(bus, msg, self, shorthand);
	for (unsigned i = 0; i < bus->count; i++) {
		struct lapic *a = bus->apic[i];
		uint64_t route = atomic_load64(&a->route);

		if (is_meant(a, route, msg, self, shorthand))
			taken += accept(a, route, msg);
	}
	return taken;
}

unsigned lapic_bus_send(struct lapic_bus *bus, const struct lapic_msg *msg)
{
	return lapic_bus_send_from(bus, msg, NULL, SHORTHAND_NONE);
}

bool lapic_bus_msi(struct lapic_bus *bus, const struct msi_msg *msi)
{
	struct lapic_msg msg = {
		.dest = (uint32_t)(msi->address >> MSI_DEST_SHIFT) & 0xff,
		.logical = (msi->address & MSI_LOGICAL) != 0,
		.level = (msi->data & MSI_DATA_LEVEL) != 0,
		.mode = (enum lapic_delivery)(msi->data >> MSI_DATA_MODE_SHIFT & 7),
		.vector = (uint8_t)msi->data,
	};

	if (align_down(msi->address, MIB) != MSI_BASE)
		return false;
	if (msg.level && !(msi->data & MSI_DATA_ASSERT))
		return true; /* a level is withdrawn: nothing to deliver */
	if ((msi->address & MSI_REDIRECT) && msg.mode == LAPIC_FIXED)
		msg.mode = LAPIC_LOWEST; /* the hint asks for one of the destinations */
	if (msg.mode != LAPIC_STARTUP)	 /* reserved in MSI data */
		lapic_bus_send(bus, &msg);
	return true;
}
