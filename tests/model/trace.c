/* SPDX-License-Identifier: BSD-2-Clause */
/* A violation as a table: a line per step, a column per pCPU, names from the program's symbols. */
#include "tests/model/model.h"

#include <elf.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/util.h"

#define MAX_ROWS 4000

struct row {
	int cpu;
	char text[160];
};

/* On the heap: outlives executions. */
struct trace {
	struct row rows[MAX_ROWS];
	unsigned n;
	const Elf64_Sym *symbols;
	size_t nr_symbols;
	const char *names;
};

static struct trace *t;

static void read_symbols(const char *file)
{
	const Elf64_Ehdr *h = (const void *)file;
	const Elf64_Shdr *sections = (const void *)(file + h->e_shoff);

	for (unsigned i = 0; i < h->e_shnum; i++) {
		if (sections[i].sh_type != SHT_SYMTAB)
			continue;
		t->symbols = (const void *)(file + sections[i].sh_offset);
		t->nr_symbols = sections[i].sh_size / sizeof(Elf64_Sym);
		t->names = file + sections[sections[i].sh_link].sh_offset;
	}
}

void trace_init(void)
{
	int fd = open("/proc/self/exe", O_RDONLY);
	struct stat st;
	const char *file;

	t = calloc(1, sizeof(*t));
	if (fd < 0 || fstat(fd, &st) != 0)
		return;
	file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (file != MAP_FAILED)
		read_symbols(file);
}

static const Elf64_Sym *symbol_at(uintptr_t at)
{
	for (size_t i = 0; i < t->nr_symbols; i++) {
		const Elf64_Sym *s = &t->symbols[i];

		if (at - s->st_value < s->st_size)
			return s;
	}
	return NULL;
}

const char *function_name(const void *pc)
{
	const Elf64_Sym *s = symbol_at((uintptr_t)pc);

	return s ? t->names + s->st_name : "?";
}

static bool space_field(const void *p, char *buf, size_t n)
{
	static const struct {
		size_t at;
		const char *name;
	} fields[] = {
		{offsetof(struct space, epoch), "epoch"},
		{offsetof(struct space, settled), "settled"},
		{offsetof(struct space, lock) + offsetof(struct spinlock, next), "lock.next"},
		{offsetof(struct space, lock) + offsetof(struct spinlock, served), "lock.served"},
	};

	for (unsigned g = 0; g < ARRAY_SIZE(G); g++)
		for (unsigned i = 0; i < ARRAY_SIZE(fields); i++)
			if ((const char *)p == (const char *)&G[g].s2.space + fields[i].at) {
				snprintf(buf, n, "space %llu's %s",
					 (unsigned long long)G[g].s2.space.id, fields[i].name);
				return true;
			}
	return false;
}

const char *address_name(const void *p, char *buf, size_t n)
{
	const Elf64_Sym *s;

	if ((const char *)p >= arena && (const char *)p < arena + MAX_FRAMES * PAGE_SIZE) {
		uint64_t at = (uint64_t)((const char *)p - arena);

		snprintf(buf, n, "entry %llu of table %#llx", (unsigned long long)(at >> 3 & 511),
			 (unsigned long long)(at & ~PAGE_MASK));
		return buf;
	}
	if (space_field(p, buf, n))
		return buf;
	s = symbol_at((uintptr_t)p);
	if (s && strcmp(t->names + s->st_name, "agents") == 0)
		snprintf(buf, n, "agents[%lu]+%lu", ((uintptr_t)p - s->st_value) / 64,
			 ((uintptr_t)p - s->st_value) % 64);
	else if (s)
		snprintf(buf, n, "%s+%lu", t->names + s->st_name, (uintptr_t)p - s->st_value);
	else
		snprintf(buf, n, "%p", p);
	return buf;
}

void trace_row(int cpu, const char *fmt, ...)
{
	va_list ap;
	struct row *r;

	if (!X->tracing || t->n == MAX_ROWS)
		return;
	r = &t->rows[t->n++];
	r->cpu = cpu;
	va_start(ap, fmt);
	vsnprintf(r->text, sizeof(r->text), fmt, ap);
	va_end(ap);
}

void trace_clear(void)
{
	t->n = 0;
}

void trace_print(void)
{
	printf("# %4s %-5s %s\n", "step", "pCPU", "what");
	for (unsigned i = 0; i < t->n; i++)
		printf("# %4u %*s%d%*s %s\n", i + 1, t->rows[i].cpu * 2, "", t->rows[i].cpu,
		       4 - t->rows[i].cpu * 2, "", t->rows[i].text);
}
