/* SPDX-License-Identifier: BSD-2-Clause */
/* kzalloc on the host: the C library's allocator, so that the sanitizers see every object. */
#include "mm/kalloc.h"

#include <stdlib.h>

void *kzalloc(size_t n)
{
	return calloc(1, n);
}

void kfree(void *p)
{
	free(p);
}
