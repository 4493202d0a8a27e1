/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a test of guest memory's users may do beyond vm/guestmem.h when it is linked to the flat
 * implementation (tests/host/guestmem_flat.c): look at the bytes.
 */
#ifndef SLUICE_TESTS_HOST_GUESTMEM_FLAT_H
#define SLUICE_TESTS_HOST_GUESTMEM_FLAT_H

#include <stdbool.h>
#include <stdint.h>

struct guestmem;

/* The bytes [addr, addr + size), or NULL when they are not in one slot. Valid until destroy. */
uint8_t *guestmem_flat_at(struct guestmem *gm, uint64_t addr, uint64_t size);

/* True when every byte of [addr, addr + size) is zero and RAM. */
bool guestmem_flat_is_zero(struct guestmem *gm, uint64_t addr, uint64_t size);

#endif
