/* SPDX-License-Identifier: BSD-2-Clause */
/* The debug exit port: writes of any width end the guest. */
#include "vm/dev/debug_exit.h"

static uint64_t debug_exit_read(void *dev, uint64_t off, unsigned size)
{
	(void)dev;
	(void)off;
	(void)size;
	return 0;
}

static void debug_exit_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct debug_exit *de = dev;

	(void)off;
	(void)size;
	de->exit(de->ctx, (uint32_t)val);
}

const struct io_ops debug_exit_ops = {.read = debug_exit_read, .write = debug_exit_write};
