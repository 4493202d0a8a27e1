/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fuzzes the guests file. Whatever the text, each guest that comes out is complete and within
 * limits, each message is one printable line with its place, and a guest written down again is read
 * the same.
 */
// links: vm/conf.c lib/format.c lib/string.c
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/check.h"
#include "mm/types.h"
#include "vm/conf.h"

#define MAX_GUESTS 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_report(void *ctx, unsigned line, const char *msg)
{
	char head[32];

	snprintf(head, sizeof(head), "fuzz:%u: ", line);
	CHECK(strncmp(msg, head, strlen(head)) == 0 && msg[strlen(head)] != '\0');
	for (const char *p = msg; *p != '\0'; p++)
		CHECK((unsigned char)*p >= ' ' || *p == '\t');
	++*(unsigned *)ctx;
}

static void check_text(const char *s, size_t size)
{
	CHECK(memchr(s, '\0', size) != NULL);
	for (; *s != '\0'; s++)
		CHECK((unsigned char)*s >= ' ' || *s == '\t');
}

static void check_guest(const struct guest_conf *g)
{
	check_text(g->name, sizeof(g->name));
	check_text(g->kernel, sizeof(g->kernel));
	check_text(g->initrd, sizeof(g->initrd));
	check_text(g->cmdline, sizeof(g->cmdline));
	CHECK(g->name[0] != '\0' && g->kernel[0] != '\0' && strchr(g->kernel, ' ') == NULL);
	CHECK(g->memory >= CONF_MEMORY_MIN && g->memory <= CONF_MEMORY_LIMIT);
	CHECK((g->memory & PAGE_MASK) == 0);
	CHECK(g->vcpus >= 1 && g->vcpus <= MAX_VCPUS);
	CHECK(g->nr_modules <= CONF_MODULES_MAX);
	for (unsigned i = 0; i < g->nr_modules; i++) {
		check_text(g->modules[i].name, sizeof(g->modules[i].name));
		check_text(g->modules[i].args, sizeof(g->modules[i].args));
		CHECK(g->modules[i].name[0] != '\0');
	}
}

/* `key = "a" b`, the text quoted so that it comes back as it is. */
static void put(FILE *f, const char *key, const char *a, const char *b)
{
	fprintf(f, "%s = \"", key);
	for (int part = 0; part < 2; part++) {
		for (const char *p = part ? b : a; *p != '\0'; p++)
			fprintf(f, "%s%c", *p == '"' || *p == '\\' ? "\\" : "", *p);
		if (part == 0 && b[0] != '\0')
			fputc(' ', f);
	}
	fprintf(f, "\"\n");
}

static void write_guest(FILE *f, const struct guest_conf *g)
{
	fprintf(f, "[guest %s]\n", g->name);
	put(f, "kernel", g->kernel, "");
	if (g->initrd[0] != '\0')
		put(f, "initrd", g->initrd, "");
	put(f, "cmdline", g->cmdline, "");
	fprintf(f, "memory = %lluK\nvcpus = %u\n", (unsigned long long)g->memory / 1024, g->vcpus);
	fprintf(f, "autostart = %s\n", g->autostart ? "yes" : "no");
	fprintf(f, "prealloc = %s\n", g->prealloc ? "yes" : "no");
	for (int i = 0, first = 1; i < CONF_CPUS_MAX; i++) {
		if ((g->cpus[i / 64] >> (i % 64) & 1) == 0)
			continue;
		fprintf(f, "%s%d", first ? "cpu = " : ",", i);
		first = 0;
	}
	fputc('\n', f);
	if (g->devices != 0)
		fprintf(f, "devices = debug-exit\n");
	for (unsigned i = 0; i < g->nr_modules; i++)
		put(f, "module", g->modules[i].name, g->modules[i].args);
}

static bool fits_again(const struct guest_conf *g)
{
	size_t quotes = 0;

	for (const char *p = g->cmdline; *p != '\0'; p++)
		quotes += *p == '"' || *p == '\\';
	return strlen(g->cmdline) + quotes + 16 < CONF_LINE_MAX;
}

static void check_round_trip(struct guest_conf *g)
{
	static struct guest_conf again[1];
	unsigned reports = 0;
	char *text = NULL;
	size_t size = 0, count = 0;
	FILE *f;

	if (!fits_again(g))
		return;
	f = open_memstream(&text, &size);
	CHECK(f != NULL);
	write_guest(f, g);
	CHECK(fclose(f) == 0);
	g->line = 1;
	CHECK(conf_parse(text, size, "fuzz", again, 1, &count, on_report, &reports) == 0);
	CHECK(count == 1 && memcmp(g, again, sizeof(*g)) == 0);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct guest_conf guests[MAX_GUESTS];
	unsigned reports = 0;
	size_t count = MAX_GUESTS + 1;
	int err = conf_parse((const char *)data, size, "fuzz", guests, MAX_GUESTS, &count,
			     on_report, &reports);

	CHECK((err == 0) == (reports == 0) && reports <= CONF_REPORTS_MAX + 1);
	CHECK(count <= MAX_GUESTS);
	for (size_t i = 0; i < count; i++) {
		for (size_t j = 0; j < i; j++)
			CHECK(strcmp(guests[i].name, guests[j].name) != 0);
		check_guest(&guests[i]);
		check_round_trip(&guests[i]);
	}
	return 0;
}
