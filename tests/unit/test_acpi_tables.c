/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guests' ACPI tables: found and followed as an operating system does, then given to ACPICA's
 * disassembler, compiler and interpreter, which must have nothing to say.
 */
// links: vm/x86/acpi_tables.c
#include "vm/x86/acpi_tables.h"

#include <stdlib.h>
#include <unistd.h>

#include "lib/errno.h"
#include "tests/tap.h"

#define BASE 0xe0000ULL

static uint8_t tables[ACPI_TABLES_MAX];

static uint64_t le(const uint8_t *p, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

static unsigned sum(const uint8_t *p, size_t n)
{
	unsigned s = 0;

	while (n-- > 0)
		s += *p++;
	return s & 0xff;
}

/* The table at guest-physical `at` when it has that signature and adds up. */
static const uint8_t *table(uint64_t at, const char *signature, unsigned used)
{
	const uint8_t *p;

	if (at < BASE || at + 36 > BASE + used)
		return NULL;
	p = tables + (at - BASE);
	if (memcmp(p, signature, 4) != 0 || at + le(p + 4, 4) > BASE + used)
		return NULL;
	if (memcmp(signature, "FACS", 4) != 0 && sum(p, le(p + 4, 4)) != 0)
		return NULL;
	return p;
}

static void check_fadt(const uint8_t *fadt, unsigned used)
{
	is_u64(le(fadt + 4, 4), 276, "FADT: revision 6 length");
	ok(table(le(fadt + 140, 8), "DSDT", used) != NULL && le(fadt + 140, 8) == le(fadt + 40, 4),
	   "FADT names the DSDT, twice the same");
	ok(table(le(fadt + 36, 4), "FACS", used) != NULL && le(fadt + 36, 4) % 64 == 0,
	   "and the FACS, aligned to 64");
	is_u64(le(fadt + 46, 2), 9, "SCI");
	is_u64(le(fadt + 48, 4), 0, "no SMI command: in ACPI mode already");
	is_u64(le(fadt + 56, 4), 0x600, "PM1a event");
	is_u64(le(fadt + 64, 4), 0x604, "PM1a control");
	is_u64(le(fadt + 76, 4), 0x608, "PM timer");
	is_u64(le(fadt + 108, 1), 0x32, "century");
	is_u64(le(fadt + 109, 2), 0x05, "legacy devices, no keyboard controller, no VGA");
	is_u64(le(fadt + 112, 4) & (1 << 8 | 1 << 10 | 1 << 20 | 1 << 4), 1 << 8 | 1 << 10,
	       "32-bit timer, reset register, fixed power button, not hardware-reduced");
	ok(fadt[116] == 1 && le(fadt + 120, 8) == 0xcf9 && fadt[128] == 6, "reset by 6 to 0xcf9");
}

static void check_madt(const uint8_t *madt, unsigned nr_vcpus)
{
	unsigned lapics = 0, ioapics = 0, overrides = 0, nmis = 0, others = 0;
	const uint8_t *p = madt + 44, *end = madt + le(madt + 4, 4);

	is_u64(le(madt + 36, 4), 0xfee00000, "MADT: local APIC address");
	is_u64(le(madt + 40, 4), 1, "with an 8259 pair");
	for (; p < end && p[1] >= 2; p += p[1]) {
		if (p[0] == 0 && p[1] == 8)
			lapics += p[2] == lapics && p[3] == lapics && le(p + 4, 4) == 1;
		else if (p[0] == 1 && p[1] == 12)
			ioapics += le(p + 4, 4) == 0xfec00000 && le(p + 8, 4) == 0;
		else if (p[0] == 2 && p[1] == 10)
			overrides += (p[3] == 0 && le(p + 4, 4) == 2 && le(p + 8, 2) == 0) ||
				     (p[3] == 9 && le(p + 4, 4) == 9 && le(p + 8, 2) == 0xd);
		else if (p[0] == 4 && p[1] == 6)
			nmis += p[2] == 0xff && p[5] == 1;
		else
			others++;
	}
	ok(p == end && others == 0, "its entries end where it ends");
	ok(lapics == nr_vcpus && ioapics == 1 && overrides == 2 && nmis == 1,
	   "%u CPUs, one I/O APIC, timer and SCI overrides, NMI on LINT1", lapics);
}

static unsigned check_structure(unsigned nr_vcpus)
{
	int used = acpi_tables_build(tables, sizeof(tables), BASE, nr_vcpus);
	const uint8_t *xsdt, *fadt, *madt;

	if (!ok(used > 0 && used <= (int)sizeof(tables), "%u CPUs: %d bytes", nr_vcpus, used))
		return 0;
	ok(memcmp(tables, "RSD PTR ", 8) == 0 && sum(tables, 20) == 0 && sum(tables, 36) == 0 &&
		   tables[15] == 2,
	   "RSDP with both checksums");
	xsdt = table(le(tables + 24, 8), "XSDT", (unsigned)used);
	if (!ok(xsdt != NULL && le(xsdt + 4, 4) == 36 + 2 * 8, "XSDT of two"))
		return 0;
	fadt = table(le(xsdt + 36, 8), "FACP", (unsigned)used);
	madt = table(le(xsdt + 44, 8), "APIC", (unsigned)used);
	if (!ok(fadt != NULL && madt != NULL, "FADT and MADT"))
		return 0;
	check_fadt(fadt, (unsigned)used);
	check_madt(madt, nr_vcpus);
	return (unsigned)used;
}

static void test_space(void)
{
	unsigned used = (unsigned)acpi_tables_build(tables, sizeof(tables), BASE, 8), wrong = 0;

	for (size_t size = 0; size < used; size++) {
		uint8_t *exact = malloc(size + 1); /* the sanitizer watches its end */

		wrong += acpi_tables_build(exact, size, BASE, 8) != -ENOSPC;
		free(exact);
	}
	ok(wrong == 0, "a buffer that is too small is refused and not overrun");
	ok(acpi_tables_build(tables, used, BASE, 8) == (int)used, "one that just suffices is not");
	ok(acpi_tables_build(tables, sizeof(tables), BASE, 64) > 0, "64 CPUs fit");
}

/* Runs `command` in `dir`; true when it succeeds and says nothing of errors, warnings, remarks. */
static bool quiet(const char *dir, const char *command)
{
	char line[1024];

	snprintf(line, sizeof(line),
		 "cd %s && { %s; } >log 2>&1 && "
		 "! grep -iE '(error|warning|remark) +[0-9]+ -|acpi (error|warning)|exception' log",
		 dir, command);
	if (system(line) == 0)
		return true;
	snprintf(line, sizeof(line), "sed 's/^/# /' %s/log", dir);
	if (system(line) != 0)
		printf("# no log\n");
	return false;
}

static bool dump(const char *dir, const char *name, const uint8_t *p)
{
	char path[256];
	FILE *f;
	bool good;

	snprintf(path, sizeof(path), "%s/%s.dat", dir, name);
	f = fopen(path, "wb");
	if (f == NULL)
		return false;
	good = fwrite(p, 1, le(p + 4, 4), f) == le(p + 4, 4);
	return fclose(f) == 0 && good;
}

/* Disassembled, compiled again, and the same bytes behind the header (where iasl puts its name). */
static void test_table_with_iasl(const char *dir, const char *name, const uint8_t *p)
{
	char command[512];

	if (!ok(p != NULL && dump(dir, name, p), "%s dumped", name))
		return;
	snprintf(command, sizeof(command), "iasl -d %s.dat", name);
	ok(quiet(dir, command), "%s: iasl disassembles it without a complaint", name);
	snprintf(command, sizeof(command), "iasl -p again-%s %s.dsl", name, name);
	ok(quiet(dir, command), "%s: and compiles that without a complaint", name);
	snprintf(command, sizeof(command), "cmp -i 36 %s.dat again-%s.aml", name, name);
	ok(quiet(dir, command), "%s: to the same bytes", name);
}

static void test_with_acpica(unsigned used)
{
	char dir[] = "/tmp/acpi-tables-XXXXXX", command[256];
	const uint8_t *xsdt = tables + 48, *fadt;

	if (system("command -v iasl >/dev/null && command -v acpiexec >/dev/null") != 0) {
		skip("tables under ACPICA", "iasl and acpiexec (acpica-tools) are not installed");
		return;
	}
	if (!ok(mkdtemp(dir) != NULL, "scratch directory"))
		return;
	xsdt = table(le(tables + 24, 8), "XSDT", used);
	fadt = table(le(xsdt + 36, 8), "FACP", used);
	test_table_with_iasl(dir, "xsdt", xsdt);
	test_table_with_iasl(dir, "facp", fadt);
	test_table_with_iasl(dir, "apic", table(le(xsdt + 44, 8), "APIC", used));
	test_table_with_iasl(dir, "facs", table(le(fadt + 36, 4), "FACS", used));
	test_table_with_iasl(dir, "dsdt", table(le(fadt + 140, 8), "DSDT", used));
	ok(quiet(dir, "acpiexec -b 'evaluate \\_S5' dsdt.dat && "
		      "test $(grep -c 'Integer.* 0000000000000005' log) -eq 2"),
	   "the interpreter loads the DSDT and finds S5 = 5");
	ok(quiet(dir, "acpiexec -b 'execute predefined' dsdt.dat"),
	   "all predefined objects have the form they must have");
	snprintf(command, sizeof(command), "rm -r %s", dir);
	ok(system(command) == 0, "cleaned up");
}

int main(void)
{
	unsigned used;

	check_structure(8);
	test_space();
	used = check_structure(1);
	if (used != 0)
		test_with_acpica(used);
	return tap_done();
}
