/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Host ACPI tables: sound ones are read as the specification says, hostile ones never make the
 * parser read outside of what it mapped (every mapping is a heap copy of exactly its size), loop,
 * or believe what does not add up.
 */
// links: boot/acpi.c

#include "boot/acpi.h"
#include "lib/errno.h"
#include "lib/util.h"
#include "tests/tap.h"

#include <stdlib.h>

/* Physical memory of the test machine: [BASE, BASE + SIZE). */
#define BASE 0x7f000000ULL
#define SIZE 0x10000

static uint8_t ram[SIZE];
static size_t next; /* where the next table goes */
static struct acpi_info out;

static void *maps[4096];
static size_t nr_maps;
static uint64_t mapped;

static const void *map(void *ctx, pa_t p, size_t size)
{
	void *copy;

	(void)ctx;
	if (size == 0 || p.v < BASE || !range_fits(p.v - BASE, size, SIZE))
		return NULL;
	if (nr_maps == ARRAY_SIZE(maps))
		abort();
	copy = malloc(size);
	if (!copy)
		abort();
	memcpy(copy, ram + (p.v - BASE), size);
	maps[nr_maps++] = copy;
	mapped += size;
	return copy;
}

static const struct acpi_memory memory = {map, NULL};

static void unmap_all(void)
{
	while (nr_maps)
		free(maps[--nr_maps]);
	mapped = 0;
}

/* ---- building tables ---- */

static void put(size_t at, uint64_t v, size_t n)
{
	memcpy(ram + at, &v, n);
}

static void set_checksum(size_t at, size_t size, size_t where)
{
	uint8_t sum = 0;

	ram[at + where] = 0;
	for (size_t i = 0; i < size; i++)
		sum = (uint8_t)(sum + ram[at + i]);
	ram[at + where] = (uint8_t)-sum;
}

/* A table with `size - 36` bytes of body, which the caller fills before seal(). */
static size_t table(const char *signature, size_t size)
{
	size_t at = next;

	next = align_up(next + size, 16);
	memcpy(ram + at, signature, 4);
	put(at + 4, size, 4);
	return at;
}

static void seal(size_t at)
{
	uint32_t size;

	memcpy(&size, ram + at + 4, 4);
	set_checksum(at, size, 9);
}

static size_t root_table(bool xsdt, const size_t *tables, size_t n)
{
	size_t entry = xsdt ? 8 : 4, at = table(xsdt ? "XSDT" : "RSDT", 36 + n * entry);

	for (size_t i = 0; i < n; i++)
		put(at + 36 + i * entry, BASE + tables[i], entry);
	seal(at);
	return at;
}

/* A root pointer of 36 bytes at the start of memory; 0 for a table that is not there. */
static void root_pointer(size_t rsdt, size_t xsdt)
{
	memcpy(ram, "RSD PTR ", 8);
	ram[15] = 2;
	put(16, rsdt ? BASE + rsdt : 0, 4);
	put(20, 36, 4);
	put(24, xsdt ? BASE + xsdt : 0, 8);
	set_checksum(0, 20, 8);
	set_checksum(0, 36, 32);
}

static void begin(void)
{
	unmap_all();
	memset(ram, 0, sizeof(ram));
	next = 64;
}

static int parse(void)
{
	unmap_all();
	return acpi_parse(ram, 36, &memory, &out);
}

static size_t build_madt(void)
{
	static const uint8_t entries[] = {
		0,    8,  1,	0,    1,  0,	0,    0, /* processor 0, enabled */
		0,    8,  2,	2,    2,  0,	0,    0, /* processor 2, may come later */
		0,    8,  3,	4,    0,  0,	0,    0, /* an empty slot */
		0,    8,  4,	0xff, 1,  0,	0,    0, /* id 255 is nobody */
		1,    12, 9,	0,    0,  0,	0xc0, 0xfe, 0,	  0, 0, 0, /* I/O APIC at fec00000
									    */
		1,    12, 10,	0,    0,  0x10, 0xc0, 0xfe, 24,	  0, 0, 0, /* at fec01000, from GSI
									      24 */
		2,    10, 0,	0,    2,  0,	0,    0,    0,	  0,	   /* IRQ 0 is GSI 2 */
		2,    10, 0,	9,    9,  0,	0,    0,    0x0d, 0,	   /* IRQ 9 high, level */
		2,    10, 0,	4,    20, 0,	0,    0,    0x0f, 0, /* IRQ 4 is GSI 20, low, level
								      */
		3,    8,  0,	0,    1,  0,	0,    0,	     /* NMI source: not used */
		4,    6,  0xff, 0,    0,  1,			     /* NMI at LINT1 of all */
		5,    12, 0,	0,    0,  0,	0xe0, 0xfe, 1,	  0, 0, 0, /* local APIC at
									      1_fee00000 */
		9,    16, 0,	0,    2,  0,	0,    0,    1,	  0, 0, 0, 2,
		0,    0,  0, /* processor 2 again */
		9,    16, 0,	0,    0,  1,	0,    0,    1,	  0, 0, 0, 7,
		0,    0,  0,						   /* x2APIC id 256 */
		10,   12, 5,	0,    7,  0,	0,    0,    0,	  0, 0, 0, /* NMI at LINT0 of uid 7
									    */
		0x7f, 4,  1,	2,					   /* unknown */
	};
	size_t at = table("APIC", 44 + sizeof(entries));

	put(at + 36, 0xfee00000, 4);
	memcpy(ram + at + 44, entries, sizeof(entries));
	seal(at);
	return at;
}

static void put_register(size_t at, uint8_t space, uint64_t address)
{
	ram[at] = space;
	ram[at + 1] = 16;
	put(at + 4, address, 8);
}

static size_t build_fadt(size_t size, size_t dsdt)
{
	size_t at = table("FACP", size);

	put(at + 40, BASE + dsdt, 4);
	put(at + 48, 0xb2, 4);
	put(at + 52, 0xf1, 1);
	put(at + 64, 0x604, 4);
	put(at + 76, 0x608, 4);
	put(at + 91, 4, 1);
	put(at + 108, 0x32, 1);
	put(at + 109, 0, 2);
	put(at + 112, BIT(8) | BIT(10), 4);
	if (size >= 244) {
		put_register(at + 116, ACPI_SPACE_IO, 0xcf9);
		put(at + 128, 0x0f, 1);
		put(at + 140, BASE + dsdt, 8);
		put_register(at + 172, ACPI_SPACE_IO, 0xb004);
		put_register(at + 208, ACPI_SPACE_IO, 0xb008);
	}
	seal(at);
	return at;
}

static size_t build_dsdt(const char *signature, const uint8_t *aml, size_t n)
{
	size_t at = table(signature, 36 + n);

	memcpy(ram + at + 36, aml, n);
	seal(at);
	return at;
}

static const uint8_t s5_aml[] = {0x10, 0x05, 0x08, '_',	 'S',  '5',  '_',  0x12,
				 0x06, 0x04, 0x0a, 0x05, 0x01, 0x00, 0x00, 0xa3};

static size_t build_spcr(void)
{
	size_t at = table("SPCR", 80);

	put_register(at + 40, ACPI_SPACE_IO, 0x2f8);
	ram[at + 52] = 1;
	ram[at + 53] = 3;
	ram[at + 58] = 7;
	seal(at);
	return at;
}

static void build_full(bool xsdt)
{
	size_t list[4];

	begin();
	list[0] = build_fadt(276, build_dsdt("DSDT", s5_aml, sizeof(s5_aml)));
	list[1] = build_dsdt("SSDT", s5_aml, 1);
	list[2] = build_madt();
	list[3] = build_spcr();
	if (xsdt)
		root_pointer(0, root_table(true, list, 4));
	else
		root_pointer(root_table(false, list, 4), 0);
}

static bool complained(const char *start)
{
	for (size_t i = 0; i < out.nr_complaints; i++)
		if (strncmp(out.complaints[i], start, strlen(start)) == 0)
			return true;
	return false;
}

static bool is_sane(void)
{
	return out.nr_cpus <= ACPI_MAX_CPUS && out.nr_ioapics <= ACPI_MAX_IOAPICS &&
	       out.nr_overrides <= ACPI_MAX_OVERRIDES && out.nr_nmis <= ACPI_MAX_NMIS &&
	       out.nr_complaints <= ACPI_MAX_COMPLAINT && out.s5_type_a < 8 && out.s5_type_b < 8;
}

static void test_full(bool xsdt)
{
	build_full(xsdt);
	is_u64((uint64_t)-parse(), 0, xsdt ? "tables by XSDT" : "tables by RSDT");
	is_u64(out.nr_complaints, 0, "nothing to complain of");
	is_u64(out.lapic.v, 0x1fee00000, "local APIC address: the 64-bit one wins");
	is_u64(out.nr_cpus, 3, "processors: empty slots and doubles left out");
	ok(out.cpus[0].apic_id == 0 && out.cpus[0].uid == 1 && out.cpus[0].enabled, "processor 0");
	ok(out.cpus[1].apic_id == 2 && !out.cpus[1].enabled, "processor 2 may come later");
	ok(out.cpus[2].apic_id == 256 && out.cpus[2].uid == 7 && out.cpus[2].enabled,
	   "processor 256");
	ok(out.nr_ioapics == 2 && out.ioapics[0].base.v == 0xfec00000 &&
		   out.ioapics[0].gsi_base == 0 && out.ioapics[1].base.v == 0xfec01000 &&
		   out.ioapics[1].gsi_base == 24 && out.ioapics[1].id == 10,
	   "I/O APICs");
	is_u64(out.nr_overrides, 3, "overrides");
	ok(out.overrides[0].irq == 0 && out.overrides[0].gsi == 2 && !out.overrides[0].level &&
		   !out.overrides[0].active_low,
	   "IRQ 0 is GSI 2, as ISA does");
	ok(out.overrides[1].irq == 9 && out.overrides[1].level && !out.overrides[1].active_low,
	   "IRQ 9 is level, high");
	ok(out.overrides[2].gsi == 20 && out.overrides[2].level && out.overrides[2].active_low,
	   "IRQ 4 is GSI 20, level, low");
	ok(out.nr_nmis == 2 && out.nmis[0].uid == ACPI_NMI_ALL && out.nmis[0].lint == 1 &&
		   out.nmis[1].uid == 7 && out.nmis[1].lint == 0,
	   "NMI pins");
	ok(out.pm1a_control.space == ACPI_SPACE_IO && out.pm1a_control.address == 0xb004,
	   "PM1a control: the extended register wins");
	is_u64(out.pm1b_control.address, 0, "no PM1b control");
	ok(out.pm_timer.address == 0xb008 && out.pm_timer_32, "PM timer");
	ok(out.reset.address == 0xcf9 && out.reset_value == 0x0f, "reset register");
	ok(out.smi_command == 0xb2 && out.acpi_enable == 0xf1 && out.century == 0x32,
	   "SMI command port and century");
	ok(out.s5 && out.s5_type_a == 5 && out.s5_type_b == 1, "S5 types");
	ok(out.spcr.present && out.spcr.base.address == 0x2f8 && out.spcr.has_irq &&
		   out.spcr.irq == 3 && out.spcr.baud == 115200,
	   "SPCR");
}

/* Version 1 of the FADT has neither extended registers nor a reset register. */
static void test_old_fadt(void)
{
	size_t list[1];

	begin();
	list[0] = build_fadt(116, build_dsdt("DSDT", s5_aml, sizeof(s5_aml)));
	root_pointer(root_table(false, list, 1), 0);
	is_u64((uint64_t)-parse(), 0, "a FADT of version 1");
	ok(out.fadt && out.pm1a_control.address == 0x604 && out.pm_timer.address == 0x608,
	   "its registers are ports");
	ok(out.reset.address == 0 && out.s5 && !out.madt, "what it does not have is not there");
}

static void test_checksums(void)
{
	size_t list[2];

	build_full(true);
	ram[8]++;
	is_u64((uint64_t)-parse(), ENOENT, "root pointer with a wrong checksum");
	build_full(true);
	ram[32]++;
	is_u64((uint64_t)-parse(), EINVAL, "extended checksum wrong, and no RSDT to fall back to");
	ok(complained("ACPI: the root pointer"), "which is complained of");

	begin();
	list[0] = build_madt();
	list[1] = build_spcr();
	root_pointer(root_table(false, list, 2), root_table(true, list, 2));
	ram[list[0] + 50]++;
	is_u64((uint64_t)-parse(), 0, "a MADT with a wrong checksum");
	ok(!out.madt && out.nr_cpus == 0 && out.spcr.present &&
		   complained("ACPI: a table has a wrong"),
	   "is left out, others are not");
	ram[list[0] + 50]--;
	ram[32]++;
	is_u64((uint64_t)-parse(), 0, "an XSDT that cannot be used");
	ok(out.madt, "gives way to the RSDT");
}

/* Tables that point at themselves, each other, the root, or nowhere. */
static void test_loops(void)
{
	size_t at;

	begin();
	at = table("XSDT", 36 + 8 * 3);
	put(at + 36, BASE + at, 8);
	put(at + 44, BASE, 8);
	put(at + 52, 0, 8);
	seal(at);
	root_pointer(at, at);
	is_u64((uint64_t)-parse(), 0, "an XSDT that contains itself");
	ok(!out.madt && !out.fadt, "holds nothing");

	begin();
	at = table("FACP", 276);
	put(at + 140, BASE + at, 8);
	seal(at);
	root_pointer(0, root_table(true, &at, 1));
	is_u64((uint64_t)-parse(), 0, "a FADT whose DSDT is itself");
	ok(out.fadt && !out.s5, "has no S5");

	begin();
	at = table("XSDT", 36 + 8 * 1000);
	for (size_t i = 0; i < 1000; i++)
		put(at + 36 + 8 * i, BASE + at, 8);
	seal(at);
	root_pointer(0, at);
	is_u64((uint64_t)-parse(), 0, "an XSDT of a thousand entries");
	ok(complained("ACPI: too many tables") && nr_maps < 2000, "is cut");
}

static void test_lengths(void)
{
	static const uint32_t sizes[] = {0, 1, 35, SIZE, 0x7fffffff, UINT32_MAX};
	size_t at;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		begin();
		at = build_madt();
		put(at + 4, sizes[i], 4);
		root_pointer(0, root_table(true, &at, 1));
		ok(parse() == 0 && !out.madt && out.nr_complaints == 1, "MADT of length %#x",
		   sizes[i]);
	}
	for (size_t size = 36; size < 52; size++) {
		begin();
		at = table("APIC", size);
		seal(at);
		root_pointer(0, root_table(true, &at, 1));
		ok(parse() == 0 && is_sane() && out.nr_cpus == 0, "MADT cut to %zu bytes", size);
	}
	for (size_t size = 36; size <= 276; size += 4) {
		begin();
		at = table("FACP", size);
		memset(ram + at + 36, 0xff, size - 36);
		seal(at);
		root_pointer(0, root_table(true, &at, 1));
		ok(parse() == 0 && is_sane() && out.fadt == (size >= 116), "FADT cut to %zu bytes",
		   size);
	}
	begin();
	next = SIZE - 64; /* the table's end is the end of memory */
	at = table("APIC", 64);
	next = 64;
	seal(at);
	root_pointer(0, root_table(true, &at, 1));
	ok(parse() == 0 && out.madt, "a table at the very end of memory");
	put(at + 4, 65, 4);
	ok(parse() == 0 && !out.madt && complained("ACPI: a table does not lie"),
	   "and one that goes a byte further");
}

/* Entry lengths that lie, one at a time. */
static void test_madt_entries(void)
{
	size_t bad = 0;

	for (unsigned type = 0; type < 16; type++) {
		for (unsigned length = 0; length < 256; length++) {
			size_t at;

			begin();
			at = table("APIC", 44 + 16);
			ram[at + 44] = (uint8_t)type;
			ram[at + 45] = (uint8_t)length;
			seal(at);
			root_pointer(0, root_table(true, &at, 1));
			bad += parse() != 0 || !is_sane();
			if (length < 2 || length > 16)
				bad += !complained("ACPI: a MADT entry has an impossible");
		}
	}
	is_u64(bad, 0, "MADT entries of every type and length");
}

static void test_many_cpus(void)
{
	size_t n = ACPI_MAX_CPUS + 10, at;

	begin();
	at = table("APIC", 44 + 16 * n);
	for (size_t i = 0; i < n; i++) {
		ram[at + 44 + 16 * i] = 9;
		ram[at + 45 + 16 * i] = 16;
		put(at + 44 + 16 * i + 4, i, 4);
		put(at + 44 + 16 * i + 8, 1, 4);
	}
	seal(at);
	root_pointer(0, root_table(true, &at, 1));
	parse();
	is_u64(out.nr_cpus, ACPI_MAX_CPUS, "more processors than there is room for");
	is_u64(out.nr_cpus_ignored, 10, "the others are counted");
}

static bool s5_of(const uint8_t *aml, size_t n)
{
	size_t list[1];

	begin();
	list[0] = build_fadt(276, build_dsdt("DSDT", aml, n));
	root_pointer(0, root_table(true, list, 1));
	return parse() == 0 && is_sane() && out.s5;
}

static void test_s5(void)
{
	static const uint8_t rooted[] = {0x08, '\\', '_',  'S',	 '5',  '_', 0x12,
					 0x0a, 0x04, 0x0a, 0x07, 0x0a, 0x06};
	static const uint8_t wide[] = {0x08, '_',  'S',	 '5',  '_',  0x12, 0x48, 0x00, 0x02,
				       0x0b, 0x05, 0x00, 0x0c, 0x03, 0,	   0,	 0};
	static const uint8_t in_method[] = {0x70, '_', 'S', '5', '_', 0x12, 0x06, 0x04, 1, 1};
	static const uint8_t one_element[] = {0x08, '_', 'S', '5', '_', 0x12, 0x03, 0x01, 1, 1};
	static const uint8_t not_a_number[] = {0x08, '_', 'S', '5', '_', 0x12, 0x06, 0x04, 0x0d, 1};
	size_t list[2], found = 0;

	ok(s5_of(rooted, sizeof(rooted)) && out.s5_type_a == 7 && out.s5_type_b == 6,
	   "\\_S5_ with a root prefix");
	ok(s5_of(wide, sizeof(wide)) && out.s5_type_a == 5 && out.s5_type_b == 3,
	   "a long package length, words and double words");
	ok(!s5_of(in_method, sizeof(in_method)), "_S5_ that is used, not defined");
	ok(!s5_of(one_element, sizeof(one_element)), "a package of one element");
	ok(!s5_of(not_a_number, sizeof(not_a_number)), "an element that is no integer");
	for (size_t n = 0; n <= sizeof(wide); n++)
		found += s5_of(wide, n);
	is_u64(found, 1, "the definition is found only when it is there as a whole");

	begin();
	list[0] = build_fadt(276, build_dsdt("DSDT", s5_aml, 2));
	list[1] = build_dsdt("SSDT", rooted, sizeof(rooted));
	root_pointer(0, root_table(true, list, 2));
	ok(parse() == 0 && out.s5 && out.s5_type_a == 7, "defined in an SSDT");
}

static void test_mutated(void)
{
	size_t bad = 0, end;

	build_full(true);
	end = next;
	for (size_t i = 0; i < end; i++) {
		static const uint8_t flips[] = {0x01, 0x80, 0x7f, 0xff};

		for (size_t k = 0; k < ARRAY_SIZE(flips); k++) {
			ram[i] ^= flips[k];
			parse();
			bad += !is_sane();
			ram[i] ^= flips[k];
		}
	}
	is_u64(bad, 0, "every byte damaged");
	/* The same with checksums put right again, so that the damage is believed. */
	for (size_t i = 64; i < end; i++) {
		for (unsigned v = 0; v < 256; v += 5) {
			build_full(true);
			ram[i] = (uint8_t)v;
			for (size_t at = 64; at < end;) {
				uint32_t size;

				memcpy(&size, ram + at + 4, 4);
				if (size < 36 || size > end - at)
					break;
				seal(at);
				at = align_up(at + size, 16);
			}
			parse();
			bad += !is_sane();
		}
	}
	is_u64(bad, 0, "every byte damaged, with checksums that agree");
}

/* ---- the search for the root pointer ---- */

static uint8_t low[0x100000];

static const void *map_low(void *ctx, pa_t p, size_t size)
{
	(void)ctx;
	return range_fits(p.v, size, sizeof(low)) ? low + p.v : NULL;
}

static void test_find(void)
{
	static const size_t places[] = {0x9fc00, 0x9ffd0, 0xe0000, 0xfffd0};
	const struct acpi_memory mem = {map_low, NULL};
	uint8_t rsdp[36];

	is_u64(acpi_find_rsdp(&mem, rsdp), 0, "no root pointer anywhere");
	low[0x40e] = 0xc0;
	low[0x40f] = 0x9f;
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		begin();
		root_pointer(4, 8);
		memcpy(low + places[i], ram, 36);
		ok(acpi_find_rsdp(&mem, rsdp) == 36 && memcmp(rsdp, ram, 36) == 0,
		   "root pointer at %#zx", places[i]);
		memset(low + places[i], 0, 36);
	}
	memcpy(low + 0xe0008, ram, 36);
	is_u64(acpi_find_rsdp(&mem, rsdp), 0, "it lies on a 16-byte boundary or is none");
	memset(low, 0xff, 0x500); /* an EBDA segment beyond conventional memory */
	memcpy(low + 0xffff0 - 16, ram, 32);
	ok(acpi_find_rsdp(&mem, rsdp) == 20,
	   "one at the end of the area is taken without its tail");
}

int main(void)
{
	test_full(true);
	test_full(false);
	test_old_fadt();
	test_checksums();
	test_loops();
	test_lengths();
	test_madt_entries();
	test_many_cpus();
	test_s5();
	test_mutated();
	test_find();
	unmap_all();
	return tap_done();
}
