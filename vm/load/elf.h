/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ELF executables as kernels (System V ABI, "Object Files" and "Program Loading"): program headers
 * are loaded to their physical addresses; sections, symbols and relocations are not looked at.
 */
#ifndef SLUICE_VM_LOAD_ELF_H
#define SLUICE_VM_LOAD_ELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loader;

/* True when `data` begins as an ELF file of any kind. */
bool elf_identify(const void *data, size_t size);

/* Why an ELF file without a boot protocol's header is no kernel: text after "NAME: ". */
const char *elf_describe(const void *data, size_t size);

/*
 * Loads the 32-bit x86 executable that is the request's kernel. *entry: guest-physical entry point;
 * *end: the first byte above all segments, zero-filled parts included. Errors as load_kernel.
 */
int elf_load32(struct loader *l, uint64_t *entry, uint64_t *end);

#endif
