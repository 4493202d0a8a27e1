/* SPDX-License-Identifier: BSD-2-Clause */
/* arch/machine.h on x86: ties time, interrupts and console line together. */
#include "arch/machine.h"

#include "arch/hw.h"
#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "arch/x86/machine.h"
#include "arch/x86/percpu.h"
#include "arch/x86/power.h"
#include "arch/x86/smp.h"
#include "arch/x86/time.h"
#include "arch/x86/traps.h"
#include "arch/x86/uart.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "lib/util.h"

static const uint16_t com_ports[] = {0x3f8, 0x2f8, 0x3e8, 0x2e8};
static const uint8_t com_irqs[] = {4, 3, 4, 3};

static struct machine_info info;
static struct machine_cpu cpus[MAX_PCPUS];
static char cpu_name[49];
static char cpu_features[192];
static char interrupts[64] = "no console line";

static const struct acpi_info *firmware;
static bool interrupts_ready;
static uint8_t console_irq = UART_NO_IRQ; /* of the line in use */

const struct machine_info *machine_info(void)
{
	return &info;
}

/* ---- interrupts ---- */

void machine_take_interrupts(void)
{
	interrupts_window();
	percpu_log_oddities();
}

void machine_idle(void)
{
	interrupts_wait();
	percpu_log_oddities();
}

/* ---- console ---- */

static uint8_t irq_of_port(uint16_t port)
{
	if (firmware && firmware->spcr.present && firmware->spcr.base.address == port)
		return firmware->spcr.has_irq ? firmware->spcr.irq : UART_NO_IRQ;
	for (size_t i = 0; i < ARRAY_SIZE(com_ports); i++)
		if (com_ports[i] == port)
			return com_irqs[i];
	return UART_NO_IRQ;
}

static void connect_console(void)
{
	bool polled;

	if (!interrupts_ready || !uart_present())
		return;
	if (console_irq != UART_NO_IRQ)
		ioapic_mask_isa(console_irq);
	console_irq = irq_of_port(uart_port());
	polled = console_irq == UART_NO_IRQ || ioapic_route_isa(console_irq, VEC_CONSOLE);
	if (polled)
		console_irq = UART_NO_IRQ;
	else
		uart_enable_interrupts();
	time_poll_console(polled);
	snprintf(interrupts, sizeof(interrupts), "%s, console %s",
		 apic_is_x2apic() ? "x2apic" : "xapic", polled ? "polled" : "by interrupt");
}

/* What the firmware says is the console, or the first port where a UART answers. */
static int open_auto(uint32_t baud)
{
	const struct acpi_spcr *s = firmware && firmware->spcr.present ? &firmware->spcr : NULL;

	if (s && s->base.space == ACPI_SPACE_IO && s->base.address <= UINT16_MAX - 7 &&
	    s->type <= 1 && uart_init((uint16_t)s->base.address, baud ? baud : s->baud) == 0)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(com_ports); i++)
		if (uart_init(com_ports[i], baud ? baud : 115200) == 0)
			return 0;
	return -ENODEV;
}

/* A number in base 10, or 16 with 0x, up to `end`; false when it is none. */
static bool parse_number(const char *s, const char *end, uint32_t *out)
{
	uint32_t base = 10, v = 0;

	if (end - s > 2 && s[0] == '0' && s[1] == 'x') {
		base = 16;
		s += 2;
	}
	if (s == end)
		return false;
	for (; s < end; s++) {
		char c = (char)(*s >= 'A' && *s <= 'F' ? *s - 'A' + 'a' : *s);
		uint32_t digit = c >= '0' && c <= '9'		      ? (uint32_t)(c - '0')
				 : c >= 'a' && c <= 'f' && base == 16 ? (uint32_t)(c - 'a') + 10
								      : base;

		if (digit >= base || v > (UINT32_MAX - digit) / base)
			return false;
		v = v * base + digit;
	}
	*out = v;
	return true;
}

/* The port that the first part of a console spec names; 0: "auto". False when it names none. */
static bool parse_port(const char *s, const char *end, uint16_t *port)
{
	size_t n = (size_t)(end - s);
	uint32_t v;

	if (n == 4 && memcmp(s, "auto", 4) == 0) {
		*port = 0;
		return true;
	}
	if (n == 4 && memcmp(s, "com", 3) == 0 && s[3] >= '1' && s[3] <= '4') {
		*port = com_ports[s[3] - '1'];
		return true;
	}
	if (n > 2 && s[1] == 'x' && parse_number(s, end, &v) && v && v <= UINT16_MAX - 7) {
		*port = (uint16_t)v;
		return true;
	}
	return false;
}

int machine_console_open(const char *spec, char *err, size_t err_size)
{
	const char *end = spec + strlen(spec), *comma = strchr(spec, ',');
	uint32_t baud = 0;
	uint16_t port;
	int r;

	if (!parse_port(spec, comma ? comma : end, &port)) {
		snprintf(err, err_size,
			 "console=%s: com1..com4, a port such as 0x3f8, or auto was expected",
			 spec);
		return -EINVAL;
	}
	if (comma && (!parse_number(comma + 1, end, &baud) || baud < 9600 || baud > 115200 ||
		      115200 % baud)) {
		snprintf(err, err_size,
			 "console=%s: 9600, 19200, 38400, 57600 or 115200 baud was expected", spec);
		return -EINVAL;
	}
	if (uart_present() && port == uart_port() && baud == 0)
		return 0; /* as it is */
	r = port ? uart_init(port, baud ? baud : 115200) : open_auto(baud);
	if (r)
		snprintf(err, err_size, "console=%s: no UART answers there", spec);
	else
		connect_console();
	return r;
}

bool machine_console_present(void)
{
	return uart_present();
}

size_t machine_console_tx(const char *s, size_t n)
{
	return uart_write(s, n);
}

void machine_console_tx_all(const char *s, size_t n)
{
	uart_write_unlocked(s, n);
}

int machine_console_rx(void)
{
	return uart_read();
}

void machine_console_tx_wait(bool on)
{
	uart_want_room(on);
}

/* ---- facts ---- */

/* The brand string is padded on either side (SDM vol. 2, CPUID 8000_0002h to 8000_0004h). */
static void fill_cpu_name(void)
{
	char raw[49] = {0}, *s = raw;
	size_t n;

	if (cpuid(0x80000000).eax < 0x80000004) {
		str_copy(cpu_name, sizeof(cpu_name), cpu_is_amd() ? "AMD" : "unknown");
		return;
	}
	for (uint32_t i = 0; i < 3; i++) {
		struct cpuid part = cpuid(0x80000002 + i);

		memcpy(raw + 16 * i, &part, 16);
	}
	while (*s == ' ')
		s++;
	for (n = strlen(s); n && s[n - 1] == ' '; n--)
		s[n - 1] = '\0';
	str_copy(cpu_name, sizeof(cpu_name), s);
}

static void fill_features(void)
{
	struct cpuid basic = cpuid_checked(1, 0), ext = cpuid_checked(0x80000001, 0);
	uint64_t cr4 = read_cr4();
	const struct {
		const char *name;
		bool have;
	} list[] = {
		{"nx", true},
		{"smep", cr4 & CR4_SMEP},
		{"smap", cr4 & CR4_SMAP},
		{"umip", cr4 & CR4_UMIP},
		{"pge", cr4 & CR4_PGE},
		{"1g-pages", ext.edx & BIT(26)},
		{"xsave", cr4 & CR4_OSXSAVE},
		{"fsgsbase", cr4 & CR4_FSGSBASE},
		{"x2apic", basic.ecx & BIT(21)},
		{"tsc-deadline", basic.ecx & BIT(24)},
		{"invariant-tsc", time_tsc_invariant()},
		{"svm", ext.ecx & BIT(2)},
		{"vmx", basic.ecx & BIT(5)},
	};
	size_t used = 0;

	for (size_t i = 0; i < ARRAY_SIZE(list); i++)
		if (list[i].have)
			str_append(cpu_features, sizeof(cpu_features), &used, "%s%s",
				   used ? " " : "", list[i].name);
}

/* The boot CPU first, the others in the order of the MADT, as far as there are indexes for them. */
static void fill_cpus(void)
{
	unsigned n = 1;

	cpus[0] = (struct machine_cpu){apic_id(), true, true};
	info.nr_cpus_ignored = (unsigned)firmware->nr_cpus_ignored;
	for (size_t i = 0; i < firmware->nr_cpus; i++) {
		const struct acpi_cpu *c = &firmware->cpus[i];

		if (c->apic_id == cpus[0].hw_id)
			continue;
		if (n == MAX_PCPUS)
			info.nr_cpus_ignored++;
		else
			cpus[n++] = (struct machine_cpu){c->apic_id, c->enabled, false};
	}
	info.cpus = cpus;
	info.nr_cpus = n;
}

void machine_init(const struct acpi_info *acpi, const char *fw, const char *loader,
		  uint64_t ram_bytes, pa_t trampoline)
{
	firmware = acpi;
	power_init(acpi);
	pic_disable();
	apic_init(acpi);
	boot_percpu.apic_id = apic_id();
	ioapic_init(acpi);
	time_init(acpi);
	interrupts_ready = true;
	connect_console();

	fill_cpus();
	smp_init(trampoline, cpus, info.nr_cpus);
	fill_cpu_name();
	fill_features();
	info.cpu_name = cpu_name;
	info.cpu_features = cpu_features;
	info.tsc_hz = time_tsc_hz();
	info.clock = time_source();
	info.timer = time_timer_name();
	info.interrupts = interrupts;
	info.firmware = fw;
	info.loader = loader;
	info.ram_bytes = ram_bytes;
}
