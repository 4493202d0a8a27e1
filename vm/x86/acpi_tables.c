/* SPDX-License-Identifier: BSD-2-Clause */
/* ACPI tables. Structures are as in memory: packed, little-endian; sections are those of ACPI 6.5.
 */
#include "vm/x86/acpi_tables.h"

#include "lib/errno.h"
#include "lib/string.h"
#include "lib/util.h"
#include "vm/dev/acpi_pm.h"
#include "vm/dev/ioapic.h"
#include "vm/dev/lapic.h"
#include "vm/dev/reset_ctl.h"
#include "vm/dev/rtc.h"

/* The compiled vm/x86/dsdt.asl: dsdt_aml_code[]. */
#include "dsdt.hex"

#define PACKED __attribute__((packed))

#define OEM_ID	     "SLUICE"	/* 6 characters */
#define OEM_TABLE_ID "SLUICEPC" /* 8 */
#define CREATOR_ID   "SLUI"	/* 4 */

#define SCI_IRQ 9

/* 5.2.6 */
struct acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} PACKED;

/* 5.2.3.2 */
struct acpi_address {
	uint8_t space; /* 1: I/O ports */
	uint8_t bit_width;
	uint8_t bit_offset;
	uint8_t access; /* 1 byte, 2 word, 3 dword */
	uint64_t address;
} PACKED;

/* 5.2.5.3 */
struct acpi_rsdp {
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt; /* 0: there is an XSDT */
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} PACKED;

/* 5.2.8; the DSDT is named by the FADT. */
struct acpi_xsdt {
	struct acpi_header header;
	uint64_t fadt;
	uint64_t madt;
} PACKED;

/* 5.2.10 */
struct acpi_facs {
	char signature[4];
	uint32_t length;
	uint32_t hardware_signature;
	uint32_t waking_vector;
	uint32_t global_lock;
	uint32_t flags;
	uint64_t x_waking_vector;
	uint8_t version;
	uint8_t reserved[31];
} PACKED;

/* 5.2.9 */
struct acpi_fadt {
	struct acpi_header header;
	uint32_t facs;
	uint32_t dsdt;
	uint8_t reserved0;
	uint8_t pm_profile;
	uint16_t sci_int;
	uint32_t smi_cmd;
	uint8_t acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
	uint32_t pm1a_evt, pm1b_evt, pm1a_cnt, pm1b_cnt, pm2_cnt, pm_tmr, gpe0, gpe1;
	uint8_t pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len, gpe0_len, gpe1_len, gpe1_base;
	uint8_t cst_cnt;
	uint16_t c2_latency, c3_latency, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alarm, month_alarm, century;
	uint16_t boot_arch;
	uint8_t reserved1;
	uint32_t flags;
	struct acpi_address reset;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor_version;
	uint64_t x_facs, x_dsdt;
	struct acpi_address x_pm1a_evt, x_pm1b_evt, x_pm1a_cnt, x_pm1b_cnt, x_pm2_cnt, x_pm_tmr;
	struct acpi_address x_gpe0, x_gpe1, sleep_control, sleep_status;
	char hypervisor[8];
} PACKED;

#define FADT_WBINVD	    BIT(0)
#define FADT_PROC_C1	    BIT(2)
#define FADT_SLEEP_BUTTON   BIT(5) /* set: not among the fixed features */
#define FADT_RTC_WAKE	    BIT(6) /* set: not among the fixed features */
#define FADT_TIMER_32BIT    BIT(8)
#define FADT_RESET	    BIT(10)
#define FADT_HEADLESS	    BIT(12)
#define BOOT_LEGACY_DEVICES BIT(0) /* ISA devices: a serial port */
#define BOOT_NO_VGA	    BIT(2) /* bit 1, a keyboard controller, stays clear */
#define LATENCY_NO_C2	    101
#define LATENCY_NO_C3	    1001

/* 5.2.12 */
struct acpi_madt {
	struct acpi_header header;
	uint32_t lapic_address;
	uint32_t flags;
} PACKED;

#define MADT_PCAT_COMPAT    BIT(0) /* there is an 8259 pair to mask */
#define MADT_LAPIC_ENABLED  BIT(0)
#define MADT_ALL_PROCESSORS 0xff
#define MADT_BUS_CONFORMING 0x0 /* polarity and trigger as ISA has them */
#define MADT_HIGH_LEVEL	    0xd
#define MADT_ISA_BUS	    0

struct madt_lapic {
	uint8_t type, length; /* 0 */
	uint8_t processor_uid;
	uint8_t apic_id;
	uint32_t flags;
} PACKED;

struct madt_ioapic {
	uint8_t type, length; /* 1 */
	uint8_t id;
	uint8_t reserved;
	uint32_t address;
	uint32_t gsi_base;
} PACKED;

struct madt_override {
	uint8_t type, length; /* 2 */
	uint8_t bus;
	uint8_t irq;
	uint32_t gsi;
	uint16_t flags;
} PACKED;

struct madt_lapic_nmi {
	uint8_t type, length; /* 4 */
	uint8_t processor_uid;
	uint16_t flags;
	uint8_t lint;
} PACKED;

_Static_assert(sizeof(struct acpi_header) == 36, "5.2.6");
_Static_assert(sizeof(struct acpi_rsdp) == 36, "5.2.5.3");
_Static_assert(sizeof(struct acpi_facs) == 64, "5.2.10");
_Static_assert(sizeof(struct acpi_fadt) == 276, "5.2.9");
_Static_assert(offsetof(struct acpi_fadt, reset) == 116, "5.2.9");
_Static_assert(offsetof(struct acpi_fadt, x_pm1a_evt) == 148, "5.2.9");
_Static_assert(sizeof(struct acpi_madt) == 44, "5.2.12");

/* The buffer being filled: space is taken from front to back. */
struct tables {
	uint8_t *buf;
	size_t size, used;
	uint64_t base;
};

/* Zeroed space for one table, or NULL; *at is its guest-physical address. */
static void *take(struct tables *t, size_t size, size_t align, uint64_t *at)
{
	size_t from = (size_t)align_up(t->used, align);

	*at = t->base + from;
	if (from > t->size || size > t->size - from)
		return NULL;
	t->used = from + size;
	return memset(t->buf + from, 0, size);
}

static uint8_t checksum(const void *data, size_t size)
{
	const uint8_t *p = data;
	uint8_t sum = 0;

	for (size_t i = 0; i < size; i++)
		sum = (uint8_t)(sum + p[i]);
	return (uint8_t)-sum;
}

/* The last step of a table: everything in it must be final. */
static void seal(struct acpi_header *h, const char signature[4], uint8_t revision, size_t length)
{
	memcpy(h->signature, signature, sizeof(h->signature));
	h->length = (uint32_t)length;
	h->revision = revision;
	memcpy(h->oem_id, OEM_ID, sizeof(h->oem_id));
	memcpy(h->oem_table_id, OEM_TABLE_ID, sizeof(h->oem_table_id));
	h->oem_revision = 1;
	memcpy(h->creator_id, CREATOR_ID, sizeof(h->creator_id));
	h->creator_revision = 1;
	h->checksum = 0;
	h->checksum = checksum(h, length);
}

static struct acpi_address port(uint16_t address, unsigned bytes)
{
	return (struct acpi_address){.space = 1,
				     .bit_width = (uint8_t)(8 * bytes),
				     .access = (uint8_t)(bytes == 4 ? 3 : bytes),
				     .address = address};
}

static void fill_fadt(struct acpi_fadt *f, uint64_t facs, uint64_t dsdt)
{
	/* The 32-bit fields are for old systems; where the wide ones hold an address, they win. */
	f->facs = (uint32_t)facs;
	f->dsdt = (uint32_t)dsdt;
	f->x_dsdt = dsdt;
	f->sci_int = SCI_IRQ;
	f->pm1a_evt = ACPI_PM_BASE + ACPI_PM1_EVENT;
	f->pm1a_cnt = ACPI_PM_BASE + ACPI_PM1_CONTROL;
	f->pm_tmr = ACPI_PM_BASE + ACPI_PM_TIMER;
	f->pm1_evt_len = 4;
	f->pm1_cnt_len = 2;
	f->pm_tmr_len = 4;
	f->c2_latency = LATENCY_NO_C2;
	f->c3_latency = LATENCY_NO_C3;
	f->century = RTC_CENTURY;
	f->boot_arch = BOOT_LEGACY_DEVICES | BOOT_NO_VGA;
	f->flags = FADT_WBINVD | FADT_PROC_C1 | FADT_SLEEP_BUTTON | FADT_RTC_WAKE |
		   FADT_TIMER_32BIT | FADT_RESET | FADT_HEADLESS;
	f->reset = port(RESET_PORT, 1);
	f->reset_value = RESET_VALUE;
	f->minor_version = 3;
	f->x_pm1a_evt = port(ACPI_PM_BASE + ACPI_PM1_EVENT, 4);
	f->x_pm1a_evt.access = 2; /* two registers of a word each */
	f->x_pm1a_cnt = port(ACPI_PM_BASE + ACPI_PM1_CONTROL, 2);
	f->x_pm_tmr = port(ACPI_PM_BASE + ACPI_PM_TIMER, 4);
	memcpy(f->hypervisor, OEM_ID, sizeof(OEM_ID));
	seal(&f->header, "FACP", 6, sizeof(*f));
}

static int build_facs_dsdt_fadt(struct tables *t, uint64_t *fadt_at)
{
	uint64_t facs_at, dsdt_at;
	struct acpi_facs *facs = take(t, sizeof(*facs), 64, &facs_at);
	uint8_t *dsdt = take(t, sizeof(dsdt_aml_code), 16, &dsdt_at);
	struct acpi_fadt *fadt = take(t, sizeof(*fadt), 16, fadt_at);

	if (facs == NULL || dsdt == NULL || fadt == NULL)
		return -ENOSPC;
	memcpy(facs->signature, "FACS", sizeof(facs->signature));
	facs->length = sizeof(*facs);
	facs->version = 2;
	memcpy(dsdt, dsdt_aml_code, sizeof(dsdt_aml_code));
	fill_fadt(fadt, facs_at, dsdt_at);
	return 0;
}

static int build_madt(struct tables *t, unsigned nr_vcpus, uint64_t *madt_at)
{
	struct madt_override override[2] = {
		/* The PIT is wired to input 2, where the cascade leaves room. */
		{2, sizeof(override[0]), MADT_ISA_BUS, 0, 2, MADT_BUS_CONFORMING},
		{2, sizeof(override[0]), MADT_ISA_BUS, SCI_IRQ, SCI_IRQ, MADT_HIGH_LEVEL},
	};
	size_t length = sizeof(struct acpi_madt) + nr_vcpus * sizeof(struct madt_lapic) +
			sizeof(struct madt_ioapic) + sizeof(override) +
			sizeof(struct madt_lapic_nmi);
	struct acpi_madt *madt = take(t, length, 16, madt_at);
	uint8_t *at;

	if (madt == NULL)
		return -ENOSPC;
	madt->lapic_address = (uint32_t)LAPIC_BASE;
	madt->flags = MADT_PCAT_COMPAT;
	at = (uint8_t *)(madt + 1);
	for (unsigned i = 0; i < nr_vcpus; i++, at += sizeof(struct madt_lapic))
		*(struct madt_lapic *)at = (struct madt_lapic){
			.type = 0,
			.length = sizeof(struct madt_lapic),
			.processor_uid = (uint8_t)i,
			.apic_id = (uint8_t)i,
			.flags = MADT_LAPIC_ENABLED,
		};
	*(struct madt_ioapic *)at = (struct madt_ioapic){
		.type = 1,
		.length = sizeof(struct madt_ioapic),
		.address = (uint32_t)IOAPIC_BASE,
	};
	at += sizeof(struct madt_ioapic);
	memcpy(at, override, sizeof(override));
	at += sizeof(override);
	*(struct madt_lapic_nmi *)at = (struct madt_lapic_nmi){
		.type = 4,
		.length = sizeof(struct madt_lapic_nmi),
		.processor_uid = MADT_ALL_PROCESSORS,
		.flags = MADT_BUS_CONFORMING,
		.lint = 1,
	};
	seal(&madt->header, "APIC", 5, length);
	return 0;
}

int acpi_tables_build(void *buf, size_t size, uint64_t base, unsigned nr_vcpus)
{
	struct tables t = {.buf = buf, .size = size, .base = base};
	uint64_t rsdp_at, xsdt_at, fadt_at, madt_at;
	struct acpi_rsdp *rsdp = take(&t, sizeof(*rsdp), 16, &rsdp_at);
	struct acpi_xsdt *xsdt = take(&t, sizeof(*xsdt), 16, &xsdt_at);

	if (rsdp == NULL || xsdt == NULL || build_facs_dsdt_fadt(&t, &fadt_at) != 0 ||
	    build_madt(&t, nr_vcpus, &madt_at) != 0)
		return -ENOSPC;
	xsdt->fadt = fadt_at;
	xsdt->madt = madt_at;
	seal(&xsdt->header, "XSDT", 1, sizeof(*xsdt));

	memcpy(rsdp->signature, "RSD PTR ", sizeof(rsdp->signature));
	memcpy(rsdp->oem_id, OEM_ID, sizeof(rsdp->oem_id));
	rsdp->revision = 2;
	rsdp->length = sizeof(*rsdp);
	rsdp->xsdt = xsdt_at;
	rsdp->checksum = checksum(rsdp, 20);
	rsdp->extended_checksum = checksum(rsdp, sizeof(*rsdp));
	return (int)t.used;
}
