/* SPDX-License-Identifier: BSD-2-Clause */
/* Symbol look-up for back traces: a linear search, made once in a machine's life. */
#include "arch/x86/symbols.h"

#include "lib/string.h"

struct elf64_sym {
	uint32_t name;
	uint8_t info, other;
	uint16_t section;
	uint64_t value, size;
};
_Static_assert(sizeof(struct elf64_sym) == 24, "ELF-64 Object File Format, figure 5");

#define STT_NOTYPE  0
#define STT_FUNC    2
#define SHN_UNDEF   0
#define SHN_RESERVE 0xff00 /* from here on no section: absolute values and the like */

/* A symbol without a size (assembly) names at most this much behind it. */
#define UNSIZED_REACH 0x1000

static const uint8_t *table;
static size_t count;
static const char *strings;
static size_t strings_size;

void symbols_init(const void *symbols, size_t size, const char *names, size_t names_size)
{
	table = symbols;
	count = size / sizeof(struct elf64_sym);
	strings = names;
	strings_size = names_size;
}

static bool is_code(const struct elf64_sym *s)
{
	unsigned type = s->info & 15U;

	return (type == STT_FUNC || type == STT_NOTYPE) && s->section != SHN_UNDEF &&
	       s->section < SHN_RESERVE;
}

static const char *symbol_name(const struct elf64_sym *s)
{
	if (s->name >= strings_size || strings[s->name] == '\0' ||
	    memchr(strings + s->name, '\0', strings_size - s->name) == NULL)
		return NULL;
	return strings + s->name;
}

bool symbols_find(uint64_t addr, const char **name, uint64_t *offset)
{
	uint64_t best = 0;
	bool found = false;

	for (size_t i = 0; i < count; i++) {
		struct elf64_sym s;
		const char *text;

		memcpy(&s, table + i * sizeof(s), sizeof(s));
		if (!is_code(&s) || s.value > addr || (found && s.value < best))
			continue;
		if (addr - s.value >= (s.size ? s.size : UNSIZED_REACH))
			continue;
		text = symbol_name(&s);
		if (text == NULL)
			continue;
		*name = text;
		*offset = addr - s.value;
		best = s.value;
		found = true;
	}
	return found;
}
