/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The I/O APIC (82093AA data sheet).
 *
 * Delivery is a function call into the local APICs, so an edge is either taken at once or lost, as
 * on a system bus where the message write always completes. An asserted level nobody took stays
 * unsent and is tried again at the next chance: a change of its line, of its entry, or any EOI
 * broadcast.
 */
#include "vm/dev/ioapic.h"

#include "lib/errno.h"
#include "lib/string.h"
#include "lib/util.h"

#define WINDOW_INDEX 0x00
#define WINDOW_DATA  0x10
#define WINDOW_EOI   0x40

#define REG_ID	    0x00
#define REG_VERSION 0x01
#define REG_ARB	    0x02
#define REG_REDIR   0x10 /* two per entry, low half first */

#define ID_MASK 0x0f000000U

#define REDIR_LOW_WRITABLE                                                                         \
	(IOAPIC_REDIR_VECTOR | IOAPIC_REDIR_MODE | IOAPIC_REDIR_LOGICAL |                          \
	 IOAPIC_REDIR_ACTIVE_LOW | IOAPIC_REDIR_LEVEL | IOAPIC_REDIR_MASKED)
#define REDIR_HIGH_WRITABLE (0xffULL << IOAPIC_REDIR_DEST_SHIFT)

static enum lapic_delivery redir_mode(uint64_t entry)
{
	return (enum lapic_delivery)((entry & IOAPIC_REDIR_MODE) >> 8);
}

/* NMI, INIT and ExtINT are edges even if programmed as level (data sheet, delivery mode). */
static bool redir_level(uint64_t entry)
{
	enum lapic_delivery mode = redir_mode(entry);

	return (entry & IOAPIC_REDIR_LEVEL) && (mode == LAPIC_FIXED || mode == LAPIC_LOWEST);
}

/* The line is up, and neither masked nor waiting for an EOI. */
static bool level_due(const struct ioapic *io, unsigned pin)
{
	uint64_t entry = io->s.redir[pin];

	return redir_level(entry) && (io->s.lines & BIT(pin)) &&
	       !(entry & (IOAPIC_REDIR_MASKED | IOAPIC_REDIR_REMOTE_IRR));
}

/* Sends what the entry says; false when nobody took it. */
static bool send(struct ioapic *io, uint64_t entry)
{
	struct lapic_msg msg = {
		.dest = (uint32_t)(entry >> IOAPIC_REDIR_DEST_SHIFT),
		.logical = (entry & IOAPIC_REDIR_LOGICAL) != 0,
		.level = redir_level(entry),
		.mode = redir_mode(entry),
		.vector = entry & IOAPIC_REDIR_VECTOR,
	};

	if (msg.mode == LAPIC_STARTUP) /* reserved in a redirection entry */
		return false;
	return lapic_bus_send(io->bus, &msg) > 0;
}

static void try_level(struct ioapic *io, unsigned pin)
{
	if (level_due(io, pin) && send(io, io->s.redir[pin]))
		io->s.redir[pin] |= IOAPIC_REDIR_REMOTE_IRR;
}

static void power_on(struct ioapic *io)
{
	io->s.id = 0;
	io->s.select = 0;
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		io->s.redir[i] = IOAPIC_REDIR_MASKED;
}

void ioapic_create(struct ioapic *io, struct lapic_bus *bus, uint8_t chip_version)
{
	memset(io, 0, sizeof(*io));
	io->s.version = IOAPIC_STATE_VERSION;
	io->bus = bus;
	io->chip_version = chip_version;
	power_on(io);
}

void ioapic_reset(struct ioapic *io)
{
	spin_lock(&io->lock);
	power_on(io);
	spin_unlock(&io->lock);
}

void ioapic_set_irq(void *ctx, unsigned pin, bool level)
{
	struct ioapic *io = ctx;
	uint32_t mask;

	if (pin >= IOAPIC_PINS)
		return;
	mask = 1U << pin;
	spin_lock(&io->lock);
	if (level != ((io->s.lines & mask) != 0)) {
		uint64_t entry = io->s.redir[pin];

		io->s.lines ^= mask;
		if (redir_level(entry))
			try_level(io, pin);
		else if (level && !(entry & IOAPIC_REDIR_MASKED))
			send(io, entry);
	}
	spin_unlock(&io->lock);
}

/* Ends the service of every level entry with this vector, and sends what is asserted. */
static void end_of_interrupt(struct ioapic *io, uint8_t vector)
{
	for (unsigned i = 0; i < IOAPIC_PINS; i++) {
		if ((io->s.redir[i] & IOAPIC_REDIR_VECTOR) == vector)
			io->s.redir[i] &= ~IOAPIC_REDIR_REMOTE_IRR;
		try_level(io, i);
	}
}

void ioapic_eoi(void *ctx, uint8_t vector)
{
	struct ioapic *io = ctx;

	spin_lock(&io->lock);
	end_of_interrupt(io, vector);
	spin_unlock(&io->lock);
}

static uint32_t read_redir(const struct ioapic *io, unsigned reg)
{
	unsigned pin = (reg - REG_REDIR) / 2;
	uint64_t entry = io->s.redir[pin];

	if (level_due(io, pin))
		entry |= IOAPIC_REDIR_PENDING;
	return (uint32_t)(reg & 1 ? entry >> 32 : entry);
}

/*
 * Going to edge clears remote IRR: kernels rely on it to get rid of a stuck one where there is no
 * EOI register.
 */
static void write_redir(struct ioapic *io, unsigned reg, uint32_t val)
{
	unsigned pin = (reg - REG_REDIR) / 2;
	uint64_t *entry = &io->s.redir[pin];

	if (reg & 1)
		*entry = (*entry & UINT32_MAX) | ((uint64_t)val << 32 & REDIR_HIGH_WRITABLE);
	else
		*entry = (*entry & ~(uint64_t)REDIR_LOW_WRITABLE) | (val & REDIR_LOW_WRITABLE);
	if (!redir_level(*entry))
		*entry &= ~IOAPIC_REDIR_REMOTE_IRR;
	try_level(io, pin);
}

static bool is_redir(uint32_t reg)
{
	return reg >= REG_REDIR && reg < REG_REDIR + 2 * IOAPIC_PINS;
}

static uint32_t read_reg(const struct ioapic *io, uint32_t reg)
{
	if (is_redir(reg))
		return read_redir(io, reg);
	switch (reg) {
	case REG_ID:
	case REG_ARB: /* loaded from the ID */
		return io->s.id;
	case REG_VERSION:
		return (IOAPIC_PINS - 1) << 16 | io->chip_version;
	default:
		return 0;
	}
}

static void write_reg(struct ioapic *io, uint32_t reg, uint32_t val)
{
	if (is_redir(reg))
		write_redir(io, reg, val);
	else if (reg == REG_ID)
		io->s.id = val & ID_MASK;
}

uint64_t ioapic_mmio_read(struct ioapic *io, uint64_t off, unsigned size)
{
	uint64_t val = 0;

	(void)size; /* the caller takes the low bytes */
	spin_lock(&io->lock);
	if (off == WINDOW_INDEX)
		val = io->s.select;
	else if (off == WINDOW_DATA)
		val = read_reg(io, io->s.select);
	spin_unlock(&io->lock);
	return val;
}

void ioapic_mmio_write(struct ioapic *io, uint64_t off, unsigned size, uint64_t val)
{
	spin_lock(&io->lock);
	if (off == WINDOW_INDEX)
		io->s.select = (uint8_t)val;
	else if (off == WINDOW_DATA && size >= 4) /* half a register cannot be written */
		write_reg(io, io->s.select, (uint32_t)val);
	else if (off == WINDOW_EOI && io->chip_version >= IOAPIC_VERSION_EOI)
		end_of_interrupt(io, (uint8_t)val);
	spin_unlock(&io->lock);
}

static uint64_t ops_read(void *dev, uint64_t off, unsigned size)
{
	return ioapic_mmio_read(dev, off, size);
}

static void ops_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	ioapic_mmio_write(dev, off, size, val);
}

const struct io_ops ioapic_ops = {ops_read, ops_write, 0};

void ioapic_save(struct ioapic *io, struct ioapic_state *out)
{
	spin_lock(&io->lock);
	*out = io->s;
	spin_unlock(&io->lock);
}

static bool redir_valid(uint64_t entry)
{
	if (entry & ~(REDIR_LOW_WRITABLE | REDIR_HIGH_WRITABLE | IOAPIC_REDIR_REMOTE_IRR))
		return false;
	return !(entry & IOAPIC_REDIR_REMOTE_IRR) || redir_level(entry);
}

int ioapic_load(struct ioapic *io, const struct ioapic_state *in)
{
	if (in->version != IOAPIC_STATE_VERSION || (in->id & ~ID_MASK) || in->select > 0xff ||
	    (in->lines >> IOAPIC_PINS))
		return -EINVAL;
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		if (!redir_valid(in->redir[i]))
			return -EINVAL;
	spin_lock(&io->lock);
	io->s = *in;
	spin_unlock(&io->lock);
	return 0;
}
