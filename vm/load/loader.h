/* SPDX-License-Identifier: BSD-2-Clause */
/* What the loaders of the single formats share; not for the rest of vm/, which uses load.h. */
#ifndef SLUICE_VM_LOAD_LOADER_H
#define SLUICE_VM_LOAD_LOADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vm/load/load.h"
#include "vm/load/place.h"
#include "vm/start.h"

#define LOAD_LOW_LIMIT 0xa0000ULL /* conventional memory of a PC ends here */
#define LOAD_HIGH_BASE 0x100000ULL
#define LOAD_4G	       (1ULL << 32) /* what 32-bit addresses and our first page tables reach */

/* One load_kernel call. */
struct loader {
	struct guestmem *gm;
	const struct load_request *req;
	struct place place;
	char *err;
	size_t err_size;
};

/* Leaves "IMAGE: text" in the caller's buffer (`image` may be NULL: only the text) and returns
 * `code`. */
__attribute__((format(printf, 4, 5))) int
load_fail(struct loader *l, const struct load_image *image, int code, const char *fmt, ...);

/* Writes to guest memory; a failure, which means that the map promised RAM that is not there, has
 * its message. */
int load_write(struct loader *l, uint64_t gpa, const void *src, uint64_t n);
int load_zero(struct loader *l, uint64_t gpa, uint64_t n);

/* For messages: `bytes` in MiB, rounded up; the memory of the guest in MiB. */
unsigned long long load_mib(uint64_t bytes);
unsigned long long load_ram_mib(const struct loader *l);

/* bzimage.c: Linux on x86, entered in 64-bit mode. */
bool bzimage_identify(const uint8_t *data, size_t size);
int bzimage_load(struct loader *l, struct vcpu_start *out);

/* multiboot1.c: 32-bit kernels with a multiboot header, ELF or raw. */
bool multiboot1_identify(const uint8_t *data, size_t size);
int multiboot1_load(struct loader *l, struct vcpu_start *out);

#endif
