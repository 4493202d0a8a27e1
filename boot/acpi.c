/* SPDX-License-Identifier: BSD-2-Clause */
/* Host ACPI tables. Section numbers: ACPI Specification 6.4. */
#include "boot/acpi.h"

#include "lib/bytes.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "lib/util.h"

#define HEADER_SIZE  36 /* 5.2.6 */
#define MAX_POINTERS 256
#define RSDP_V1_SIZE 20
#define RSDP_V2_SIZE 36

/* A table with a sound length and checksum. */
struct table {
	const uint8_t *at;
	size_t size;
};

struct parser {
	const struct acpi_memory *mem;
	struct acpi_info *out;
};

static void complain(struct parser *p, const char *text)
{
	struct acpi_info *out = p->out;

	for (size_t i = 0; i < out->nr_complaints; i++)
		if (out->complaints[i] == text)
			return;
	if (out->nr_complaints < ACPI_MAX_COMPLAINT)
		out->complaints[out->nr_complaints++] = text;
}

static bool sums_to_zero(const uint8_t *p, size_t n)
{
	uint8_t sum = 0;

	while (n--)
		sum = (uint8_t)(sum + *p++);
	return sum == 0;
}

static const void *map(struct parser *p, uint64_t addr, size_t size)
{
	if (addr == 0 || !range_fits(addr, size, BIT(52)))
		return NULL;
	return p->mem->map(p->mem->ctx, pa(addr), size);
}

/* The table at `addr` when it has that signature; a complaint when it has, but is damaged. */
static bool get_table(struct parser *p, uint64_t addr, const char *signature, struct table *t)
{
	const uint8_t *header = map(p, addr, HEADER_SIZE);
	uint32_t size;

	if (header == NULL) {
		complain(p, "ACPI: a table lies where there is no memory");
		return false;
	}
	if (memcmp(header, signature, 4) != 0)
		return false;
	size = get_le32(header + 4);
	if (size < HEADER_SIZE || size > ACPI_TABLE_MAX) {
		complain(p, "ACPI: a table has an impossible length");
		return false;
	}
	t->at = map(p, addr, size);
	t->size = size;
	if (t->at == NULL) {
		complain(p, "ACPI: a table does not lie in memory as a whole");
		return false;
	}
	if (!sums_to_zero(t->at, size)) {
		complain(p, "ACPI: a table has a wrong checksum");
		return false;
	}
	return true;
}

/* ---- MADT, 5.2.12 ---- */

/* MPS INTI flags, table 5.26: 00 as the bus does (ISA: high, edge), 01 high or edge, 11 low or
 * level. */
static bool inti_low(uint16_t flags)
{
	return (flags & 3) == 3;
}

static bool inti_level(uint16_t flags)
{
	return (flags >> 2 & 3) == 3;
}

static void add_cpu(struct parser *p, uint32_t apic_id, uint32_t uid, uint32_t flags)
{
	struct acpi_info *out = p->out;
	bool enabled = flags & BIT(0), later = flags & BIT(1);

	if (!enabled && !later)
		return; /* a slot without a processor */
	for (size_t i = 0; i < out->nr_cpus; i++)
		if (out->cpus[i].apic_id == apic_id)
			return; /* listed both as local APIC and as x2APIC */
	if (out->nr_cpus == ACPI_MAX_CPUS) {
		out->nr_cpus_ignored++;
		return;
	}
	out->cpus[out->nr_cpus++] = (struct acpi_cpu){apic_id, uid, enabled};
}

static void add_ioapic(struct parser *p, const uint8_t *e)
{
	struct acpi_info *out = p->out;
	uint32_t base = get_le32(e + 4);

	if (base == 0 || !is_aligned(base, 16)) {
		complain(p, "ACPI: an I/O APIC has an impossible address");
		return;
	}
	if (out->nr_ioapics == ACPI_MAX_IOAPICS) {
		complain(p, "ACPI: too many I/O APICs, the rest is not used");
		return;
	}
	out->ioapics[out->nr_ioapics++] = (struct acpi_ioapic){pa(base), get_le32(e + 8), e[2]};
}

static void add_override(struct parser *p, const uint8_t *e)
{
	struct acpi_info *out = p->out;
	uint16_t flags = get_le16(e + 8);

	if (e[2] != 0 || e[3] > 15) { /* bus: ISA only */
		complain(p, "ACPI: an interrupt override is not for an ISA interrupt");
		return;
	}
	if (out->nr_overrides == ACPI_MAX_OVERRIDES) {
		complain(p, "ACPI: too many interrupt overrides");
		return;
	}
	out->overrides[out->nr_overrides++] =
		(struct acpi_override){e[3], get_le32(e + 4), inti_low(flags), inti_level(flags)};
}

static void add_nmi(struct parser *p, uint32_t uid, uint16_t flags, uint8_t lint)
{
	struct acpi_info *out = p->out;

	if (lint > 1 || out->nr_nmis == ACPI_MAX_NMIS) {
		complain(p, "ACPI: a local APIC NMI entry is not usable");
		return;
	}
	out->nmis[out->nr_nmis++] =
		(struct acpi_lapic_nmi){uid, lint, inti_low(flags), inti_level(flags)};
}

/* One interrupt controller structure of e[1] bytes, which are there. */
static void parse_madt_entry(struct parser *p, const uint8_t *e)
{
	static const uint8_t need[] = {
		[0] = 8, [1] = 12, [2] = 10, [4] = 6, [5] = 12, [9] = 16, [10] = 12};

	if (e[0] < ARRAY_SIZE(need) && e[1] < need[e[0]]) {
		complain(p, "ACPI: a MADT entry is too short");
		return;
	}
	switch (e[0]) {
	case 0:
		if (e[3] != 0xff)
			add_cpu(p, e[3], e[2], get_le32(e + 4));
		break;
	case 1:
		add_ioapic(p, e);
		break;
	case 2:
		add_override(p, e);
		break;
	case 4:
		add_nmi(p, e[2] == 0xff ? ACPI_NMI_ALL : e[2], get_le16(e + 3), e[5]);
		break;
	case 5:
		p->out->lapic = pa(get_le64(e + 4));
		break;
	case 9:
		add_cpu(p, get_le32(e + 4), get_le32(e + 12), get_le32(e + 8));
		break;
	case 10:
		add_nmi(p, get_le32(e + 4), get_le16(e + 2), e[8]);
		break;
	}
}

static void parse_madt(struct parser *p, const struct table *t)
{
	size_t at = HEADER_SIZE + 8;

	if (t->size < at) {
		complain(p, "ACPI: the MADT is too short");
		return;
	}
	p->out->madt = true;
	p->out->lapic = pa(get_le32(t->at + HEADER_SIZE));
	while (t->size - at >= 2) {
		const uint8_t *e = t->at + at;

		if (e[1] < 2 || e[1] > t->size - at) {
			complain(p, "ACPI: a MADT entry has an impossible length, the rest was "
				    "dropped");
			return;
		}
		parse_madt_entry(p, e);
		at += e[1];
	}
}

/* ---- FADT, 5.2.9 ---- */

/* Tables of all versions occur: a field beyond the end is 0. */
static uint64_t fadt_field(const struct table *t, size_t at, size_t size)
{
	uint64_t v = 0;

	if (range_fits(at, size, t->size))
		memcpy(&v, t->at + at, size);
	return v;
}

static struct acpi_register fadt_register(const struct table *t, size_t at)
{
	return (struct acpi_register){
		.space = (uint8_t)fadt_field(t, at, 1),
		.bits = (uint8_t)fadt_field(t, at + 1, 1),
		.address = fadt_field(t, at + 4, 8),
	};
}

/* The extended register at `extended` when the table has one, else the port at `legacy`. */
static struct acpi_register fadt_block(const struct table *t, size_t extended, size_t legacy,
				       uint8_t bits)
{
	struct acpi_register r = fadt_register(t, extended);
	uint64_t port = fadt_field(t, legacy, 4);

	if (r.address != 0 && (r.space != ACPI_SPACE_IO || r.address <= UINT16_MAX))
		return r;
	return (struct acpi_register){ACPI_SPACE_IO, bits, port <= UINT16_MAX ? port : 0};
}

static void parse_fadt(struct parser *p, const struct table *t, uint64_t *dsdt)
{
	struct acpi_info *out = p->out;
	uint32_t flags = (uint32_t)fadt_field(t, 112, 4);

	if (t->size < 116) { /* what version 1 has */
		complain(p, "ACPI: the FADT is too short");
		return;
	}
	out->fadt = true;
	*dsdt = fadt_field(t, 140, 8);
	if (*dsdt == 0)
		*dsdt = fadt_field(t, 40, 4);
	out->pm1a_control = fadt_block(t, 172, 64, 16);
	out->pm1b_control = fadt_block(t, 184, 68, 16);
	if (fadt_field(t, 91, 1) == 4)
		out->pm_timer = fadt_block(t, 208, 76, 32);
	out->pm_timer_32 = flags & BIT(8);
	if (flags & BIT(10)) {
		out->reset = fadt_register(t, 116);
		out->reset_value = (uint8_t)fadt_field(t, 128, 1);
	}
	out->hardware_reduced = flags & BIT(20);
	if (out->hardware_reduced)
		out->sleep_control = fadt_register(t, 244);
	if (fadt_field(t, 48, 4) <= UINT16_MAX)
		out->smi_command = (uint32_t)fadt_field(t, 48, 4);
	out->acpi_enable = (uint8_t)fadt_field(t, 52, 1);
	out->century = (uint8_t)fadt_field(t, 108, 1);
	out->no_cmos_rtc = fadt_field(t, 109, 2) & BIT(5);
}

/* ---- \_S5_, 7.4.2.6, as AML (chapter 20) ---- */

enum {
	AML_ZERO = 0x00,
	AML_ONE = 0x01,
	AML_NAME = 0x08,
	AML_BYTE = 0x0a,
	AML_WORD,
	AML_DWORD,
	AML_PACKAGE = 0x12
};

/* An integer constant at s[*at] that fits a byte; moves *at behind it. */
static bool aml_byte(const uint8_t *s, size_t size, size_t *at, uint8_t *v)
{
	size_t left = size - *at, n = 0;

	if (left == 0)
		return false;
	switch (s[(*at)++]) {
	case AML_ZERO:
		*v = 0;
		return true;
	case AML_ONE:
		*v = 1;
		return true;
	case AML_BYTE:
		n = 1;
		break;
	case AML_WORD:
		n = 2;
		break;
	case AML_DWORD:
		n = 4;
		break;
	default:
		return false;
	}
	if (left - 1 < n)
		return false;
	*v = s[*at];
	*at += n;
	return true;
}

/*
 * The package that follows the name at s[at]: PackageOp, PkgLength (its first byte's upper two bits
 * count the bytes that follow), number of elements, elements.
 */
static bool aml_s5_package(const uint8_t *s, size_t size, size_t at, uint8_t type[2])
{
	if (size - at < 3 || s[at] != AML_PACKAGE)
		return false;
	at += 2 + (size_t)(s[at + 1] >> 6);
	if (at >= size || s[at] < 2)
		return false;
	at++;
	return aml_byte(s, size, &at, &type[0]) && aml_byte(s, size, &at, &type[1]);
}

/* Name (_S5_, Package ...) or Name (\_S5_, ...) anywhere in the table; no AML is run for it. */
static void find_s5(struct parser *p, const struct table *t)
{
	for (size_t at = HEADER_SIZE + 1; at + 4 <= t->size && !p->out->s5; at++) {
		const uint8_t *s = t->at + at;
		uint8_t type[2];

		if (memcmp(s, "_S5_", 4) != 0)
			continue;
		if (s[-1] != AML_NAME && !(s[-1] == '\\' && s[-2] == AML_NAME))
			continue;
		if (!aml_s5_package(t->at, t->size, at + 4, type))
			continue;
		p->out->s5 = true;
		p->out->s5_type_a = type[0] & 7;
		p->out->s5_type_b = type[1] & 7;
	}
}

/* ---- SPCR (Microsoft's Serial Port Console Redirection Table, version 1.03 and later) ---- */

static void parse_spcr(struct parser *p, const struct table *t)
{
	static const uint32_t rates[] = {
		[0] = 0, [3] = 9600, [4] = 19200, [6] = 57600, [7] = 115200};
	struct acpi_spcr *s = &p->out->spcr;

	if (t->size < 80) {
		complain(p, "ACPI: the SPCR is too short");
		return;
	}
	s->type = t->at[36];
	s->base = fadt_register(t, 40);
	s->has_irq = t->at[52] & BIT(0) && t->at[53] < 16;
	s->irq = t->at[53];
	s->baud = t->at[58] < ARRAY_SIZE(rates) ? rates[t->at[58]] : 0;
	s->present = s->base.address != 0;
}

/* ---- root ---- */

/* XSDT (entries of 8 bytes) or RSDT (4). */
static bool parse_root(struct parser *p, uint64_t addr, const char *signature, size_t entry_size)
{
	uint64_t dsdt = 0;
	struct table root, t;
	size_t n;

	if (addr == 0 || !get_table(p, addr, signature, &root))
		return false;
	n = (root.size - HEADER_SIZE) / entry_size;
	if (n > MAX_POINTERS) {
		complain(p, "ACPI: too many tables, the rest is not used");
		n = MAX_POINTERS;
	}
	for (size_t i = 0; i < n; i++) {
		const uint8_t *e = root.at + HEADER_SIZE + i * entry_size;
		uint64_t at = entry_size == 8 ? get_le64(e) : get_le32(e);

		if (!p->out->madt && get_table(p, at, "APIC", &t))
			parse_madt(p, &t);
		else if (!p->out->fadt && get_table(p, at, "FACP", &t))
			parse_fadt(p, &t, &dsdt);
		else if (!p->out->spcr.present && get_table(p, at, "SPCR", &t))
			parse_spcr(p, &t);
	}
	if (dsdt && get_table(p, dsdt, "DSDT", &t))
		find_s5(p, &t);
	for (size_t i = 0; i < n && !p->out->s5; i++) {
		const uint8_t *e = root.at + HEADER_SIZE + i * entry_size;

		if (get_table(p, entry_size == 8 ? get_le64(e) : get_le32(e), "SSDT", &t))
			find_s5(p, &t);
	}
	return true;
}

static bool rsdp_sound(const uint8_t *r, size_t size)
{
	return size >= RSDP_V1_SIZE && memcmp(r, "RSD PTR ", 8) == 0 &&
	       sums_to_zero(r, RSDP_V1_SIZE);
}

int acpi_parse(const void *rsdp, size_t size, const struct acpi_memory *mem, struct acpi_info *out)
{
	const uint8_t *r = rsdp;
	struct parser p = {mem, out};

	memset(out, 0, sizeof(*out));
	if (!rsdp_sound(r, size))
		return -ENOENT;
	if (r[15] >= 2 && size >= RSDP_V2_SIZE) {
		if (!sums_to_zero(r, RSDP_V2_SIZE))
			complain(&p, "ACPI: the root pointer's extended checksum is wrong");
		else if (parse_root(&p, get_le64(r + 24), "XSDT", 8))
			return 0;
	}
	return parse_root(&p, get_le32(r + 16), "RSDT", 4) ? 0 : -EINVAL;
}

static size_t scan_rsdp(const struct acpi_memory *mem, uint64_t base, size_t size, uint8_t *rsdp)
{
	const uint8_t *area = mem->map(mem->ctx, pa(base), size);

	if (area == NULL)
		return 0;
	for (size_t at = 0; size - at >= RSDP_V1_SIZE; at += 16) {
		size_t n = RSDP_V1_SIZE;

		if (rsdp_sound(area + at, size - at)) {
			if (area[at + 15] >= 2 && size - at >= RSDP_V2_SIZE)
				n = RSDP_V2_SIZE;
			memcpy(rsdp, area + at, n);
			return n;
		}
		if (size - at < RSDP_V1_SIZE + 16)
			break;
	}
	return 0;
}

size_t acpi_find_rsdp(const struct acpi_memory *mem, uint8_t rsdp[36])
{
	const uint8_t *segment =
		mem->map(mem->ctx, pa(0x40e), 2); /* BIOS data area: where the EBDA is */
	uint64_t ebda = segment ? (uint64_t)get_le16(segment) << 4 : 0;
	size_t n = 0;

	if (ebda >= 0x400 && ebda < 0xa0000)
		n = scan_rsdp(mem, ebda, min_u64(KIB, 0xa0000 - ebda), rsdp);
	return n ? n : scan_rsdp(mem, 0xe0000, 0x20000, rsdp);
}
