/* SPDX-License-Identifier: BSD-2-Clause */
/* Look-up of code addresses in an ELF symbol table, sound and damaged. */
// links: arch/x86/symbols.c

#include "arch/x86/symbols.h"
#include "lib/util.h"
#include "tests/tap.h"

#include <elf.h>
#include <stdlib.h>

static const char names[] = "\0alpha\0beta\0stub\0data";

static const Elf64_Sym table[] = {
	{0},
	{.st_name = 7, .st_info = STT_FUNC, .st_shndx = 1, .st_value = 0x2000, .st_size = 0x10},
	{.st_name = 1, .st_info = STT_FUNC, .st_shndx = 1, .st_value = 0x1000, .st_size = 0x100},
	{.st_name = 12, .st_info = STT_NOTYPE, .st_shndx = 1, .st_value = 0x3000},
	{.st_name = 17, .st_info = STT_OBJECT, .st_shndx = 1, .st_value = 0x3010, .st_size = 8},
	{.st_name = 1, .st_info = STT_NOTYPE, .st_shndx = SHN_ABS, .st_value = 0x3020},
	{.st_name = 1,
	 .st_info = STT_FUNC,
	 .st_shndx = SHN_UNDEF,
	 .st_value = 0x3030,
	 .st_size = 8},
	{.st_name = 100, .st_info = STT_FUNC, .st_shndx = 1, .st_value = 0x3040, .st_size = 8},
};

static void check(uint64_t addr, const char *want, uint64_t want_offset)
{
	const char *name = NULL;
	uint64_t offset = 0;
	bool found = symbols_find(addr, &name, &offset);

	if (want == NULL)
		ok(!found, "%#" PRIx64 " is in no function", addr);
	else
		ok(found && strcmp(name, want) == 0 && offset == want_offset,
		   "%#" PRIx64 " is %s+%#" PRIx64, addr, want, want_offset);
}

/* Any bytes for a table: the names handed out end within the string table. */
static void test_garbage(void)
{
	uint8_t *symbols = malloc(sizeof(table)), *strings = malloc(sizeof(names));
	size_t bad = 0;

	if (!symbols || !strings)
		abort();
	for (unsigned round = 0; round < 256; round++) {
		memcpy(symbols, table, sizeof(table));
		memset(strings, 'x', sizeof(names));
		for (size_t i = 0; i < sizeof(table); i++) {
			const char *name;
			uint64_t offset;

			symbols[i] = (uint8_t)round;
			symbols_init(symbols, sizeof(table) - round % 30, (const char *)strings,
				     sizeof(names));
			bad += symbols_find(0x1005, &name, &offset);
			symbols_find(UINT64_MAX, &name, &offset);
		}
	}
	is_u64(bad, 0, "a string table without an end gives no names");
	free(symbols);
	free(strings);
}

int main(void)
{
	check(0x1000, NULL, 0);
	symbols_init(table, sizeof(table), names, sizeof(names));
	check(0xfff, NULL, 0);
	check(0x1000, "alpha", 0);
	check(0x10ff, "alpha", 0xff);
	check(0x1100, NULL, 0);
	check(0x2008, "beta", 8);
	check(0x3fff, "stub", 0xfff);
	check(0x3014, "stub", 0x14);
	check(0x3024, "stub", 0x24);
	check(0x3044, "stub", 0x44);
	check(0x4000, NULL, 0);
	test_garbage();
	symbols_init(NULL, 0, NULL, 0);
	check(0x1000, NULL, 0);
	return tap_done();
}
