/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory for the hypervisor's own objects, from frames that no guest was promised. */
#ifndef SLUICE_MM_KALLOC_H
#define SLUICE_MM_KALLOC_H

#include <stddef.h>

/*
 * `n` zeroed bytes, or NULL when memory does not suffice (or n is 0 or above 1 GiB). Aligned to the
 * next power of two of n up to a page, to a page beyond; from 4 KiB on physically contiguous. Not
 * to be called inside a reader section.
 */
void *kzalloc(size_t n);

/* Frees what kzalloc returned; NULL is allowed. */
void kfree(void *p);

#endif
