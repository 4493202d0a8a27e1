/* SPDX-License-Identifier: BSD-2-Clause */
/* Names for code addresses, from the symbol table of our own ELF file as the loader left it in
 * memory. */
#ifndef SLUICE_ARCH_X86_SYMBOLS_H
#define SLUICE_ARCH_X86_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * `symbols`: Elf64_Sym, `size` bytes; `names`: its string table. Both stay where they are. Called
 * again it replaces what was there; sizes 0 mean that there are none.
 */
void symbols_init(const void *symbols, size_t size, const char *names, size_t names_size);

/*
 * The function that `addr` lies in, or, where functions tell no size, the last one that begins at
 * or before it within `text`. False when there is none; *name lives as long as the tables.
 */
bool symbols_find(uint64_t addr, const char **name, uint64_t *offset);

#endif
