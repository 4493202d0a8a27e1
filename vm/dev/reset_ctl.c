/* SPDX-License-Identifier: BSD-2-Clause */
/* Reset control register (Intel 82371SB data sheet, 2.5.5) and system control port A. */
#include "vm/dev/reset_ctl.h"

#include "lib/string.h"

#define CONTROL_HARD 0x02u /* which kind of reset; here there is one */
#define CONTROL_CPU  0x04u /* its rising edge resets */
#define CONTROL_FULL 0x08u /* with a power cycle */
#define CONTROL_KEPT (CONTROL_HARD | CONTROL_FULL)

#define PORT92_RESET 0x01u /* its rising edge resets */
#define PORT92_A20   0x02u /* address line 20 is always on: reads as one */

static uint64_t control_read(void *dev, uint64_t off, unsigned size)
{
	struct reset_ctl *rc = dev;
	uint8_t val;

	(void)off;
	(void)size;
	spin_lock(&rc->lock);
	val = rc->s.control;
	spin_unlock(&rc->lock);
	return val;
}

/* The bit that resets is never seen as one, so every write of it is a rising edge. */
static void control_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct reset_ctl *rc = dev;

	(void)off;
	(void)size;
	spin_lock(&rc->lock);
	rc->s.control = val & CONTROL_KEPT;
	if (val & CONTROL_CPU)
		rc->reset(rc->ctx);
	spin_unlock(&rc->lock);
}

static uint64_t port92_read(void *dev, uint64_t off, unsigned size)
{
	struct reset_ctl *rc = dev;
	uint8_t val;

	(void)off;
	(void)size;
	spin_lock(&rc->lock);
	val = rc->s.port92;
	spin_unlock(&rc->lock);
	return val;
}

static void port92_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct reset_ctl *rc = dev;

	(void)off;
	(void)size;
	spin_lock(&rc->lock);
	if ((val & PORT92_RESET) && !(rc->s.port92 & PORT92_RESET))
		rc->reset(rc->ctx);
	rc->s.port92 = (uint8_t)(val | PORT92_A20);
	spin_unlock(&rc->lock);
}

const struct io_ops reset_ctl_ops = {.read = control_read, .write = control_write, .max_size = 1};
const struct io_ops port92_ops = {.read = port92_read, .write = port92_write, .max_size = 1};

void reset_ctl_init(struct reset_ctl *rc, void (*reset)(void *ctx), void *ctx)
{
	memset(rc, 0, sizeof(*rc));
	rc->lock = (struct spinlock)SPINLOCK_INIT;
	rc->reset = reset;
	rc->ctx = ctx;
}

void reset_ctl_reset(struct reset_ctl *rc)
{
	spin_lock(&rc->lock);
	rc->s = (struct reset_ctl_state){.version = RESET_STATE_VERSION, .port92 = PORT92_A20};
	spin_unlock(&rc->lock);
}
