/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Loading a guest: a kernel image and what comes with it go to guest memory as their boot protocol
 * says, and the registers of the first vCPU come out. The protocol is told from the kernel's
 * content.
 *
 * Guest memory is written through vm/guestmem.h only, piece by piece. It must be all zero (a new
 * guest, or one that was reset). Images are hostile: every offset in them is checked before it is
 * used.
 */
#ifndef SLUICE_VM_LOAD_LOAD_H
#define SLUICE_VM_LOAD_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vm/start.h"

struct guestmem;

/* An image as the boot loader of the machine left it: not copied, not changed, owned by the caller.
 */
struct load_image {
	const char *name; /* for messages, and for multiboot the first word of its command line */
	const char *args; /* multiboot modules: what follows the name; NULL or "" for nothing */
	const void *data;
	size_t size;
};

/* Address range types of the E820 map (ACPI 6.5, table 15.4; the multiboot map uses the same). */
enum e820_type {
	E820_RAM = 1,
	E820_RESERVED = 2,
	E820_ACPI = 3, /* tables, free once they have been read */
	E820_NVS = 4,
};

struct e820_entry {
	uint64_t base;
	uint64_t size; /* bytes */
	uint32_t type; /* enum e820_type */
};

#define LOAD_E820_MAX	 32 /* entries of a request */
#define LOAD_MODULES_MAX 16

struct load_request {
	struct load_image kernel;
	const struct load_image *initrd;  /* NULL: none */
	const struct load_image *modules; /* multiboot only */
	unsigned nr_modules;
	const char *cmdline;	       /* terminated; never NULL */
	const struct e820_entry *e820; /* sorted by base, no overlaps; RAM entries are backed */
	unsigned nr_e820;
	uint64_t rsdp;	/* guest-physical address of the ACPI root pointer, 0: none */
	bool gib_pages; /* the guest's CPU has 1 GiB pages: its first page tables may use them */
};

enum load_format {
	LOAD_UNKNOWN,
	LOAD_BZIMAGE,
	LOAD_MULTIBOOT1,
};

/* By content alone. A format may be recognised and still be refused when it is loaded. */
enum load_format load_identify(const void *data, size_t size);

/* "Linux bzImage" etc., for messages. */
const char *load_format_name(enum load_format format);

/*
 * Puts everything into guest memory and fills *out. Errors leave a sentence in err[0..err_size)
 * that names the image at fault, and the guest's memory in an undefined state: -ENOEXEC not a
 * kernel, or one this loader does not know; -EINVAL an image that contradicts itself; -EOPNOTSUPP a
 * kernel that asks for what there is not; -ENOMEM the guest's memory is too small; -E2BIG a command
 * line or module list over the protocol's limit; -EFAULT guest memory refused a write.
 */
int load_kernel(struct guestmem *gm, const struct load_request *req, struct vcpu_start *out,
		char *err, size_t err_size);

#endif
