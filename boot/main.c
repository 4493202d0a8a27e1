/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The boot CPU's way from entry.asm to vm_main(): exceptions, a console, the loader's information,
 * page tables, the frame allocator, ACPI, the machine. In this order because each step needs those
 * before it, and because whatever goes wrong should find somebody who can say so.
 */
#include "arch/machine.h"
#include "arch/x86/cpu.h"
#include "arch/x86/machine.h"
#include "arch/x86/paging.h"
#include "arch/x86/percpu.h"
#include "arch/x86/symbols.h"
#include "arch/x86/time.h"
#include "arch/x86/traps.h"
#include "boot/acpi.h"
#include "boot/boot_info.h"
#include "boot/main.h"
#include "boot/memory.h"
#include "boot/multiboot2.h"
#include "lib/check.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "lib/util.h"
#include "mm/frames.h"
#include "vm/init.h"

#define SHT_SYMTAB  2
#define EARLY_LIMIT (4 * GIB) /* what the tables of entry.asm reach */

static struct boot_info info;
static struct boot_memory memory;
static struct acpi_info acpi;
static struct vm_module modules[BOOT_MAX_MODULES];

/* ---- console ---- */

/* Until vm/ brings its own: lines straight to the UART. */
static void early_sink(enum log_level level, const char *line, size_t len)
{
	(void)level;
	machine_console_tx_all(line, len);
	machine_console_tx_all("\r\n", 2);
}

/* The value of the last console= on the command line; false when there is none or it is too long.
 */
static bool console_word(const char *cmdline, char *out, size_t size)
{
	const char key[] = "console=";
	bool found = false;

	for (const char *s = cmdline; *s; s++) {
		size_t n = 0;

		if ((s != cmdline && s[-1] != ' ') || !str_starts(s, key))
			continue;
		for (const char *v = s + sizeof(key) - 1; v[n] && v[n] != ' '; n++)
			if (n + 1 < size)
				out[n] = v[n];
		found = n < size;
		out[min_u64(n, size - 1)] = '\0';
	}
	return found;
}

static void open_console(const char *cmdline)
{
	char spec[64], err[128];

	log_set_sink(early_sink);
	if (console_word(cmdline, spec, sizeof(spec))) {
		if (strcmp(spec, "none") == 0)
			return;
		if (machine_console_open(spec, err, sizeof(err)) == 0)
			return;
		machine_console_open("auto", spec, sizeof(spec));
		log_err("%s", err);
		return;
	}
	machine_console_open("auto", err, sizeof(err));
}

/* ---- what the loader brought ---- */

static void parse_loader_info(uint32_t at, uint32_t image_base)
{
	int r;

	info.image = (struct mem_range){pa(image_base), (uint64_t)(image_end - image_start)};
	r = multiboot2_parse(direct_map(pa(at)), EARLY_LIMIT - at, pa(at), &info);
	open_console(info.cmdline);
	log_info("Sluice %s, a microhypervisor for x86-64", SLUICE_VERSION);
	if (r == -E2BIG)
		panic("the memory map has too many reserved ranges");
	if (r)
		panic("the boot loader's multiboot2 information is broken");
	for (size_t i = 0; i < info.nr_complaints; i++)
		log_warn("boot loader: %s", info.complaints[i]);
}

static uint64_t to_mib(uint64_t bytes)
{
	return bytes / MIB;
}

static void log_memory_map(void)
{
	static const char *const names[] = {
		[BOOT_MEM_USABLE] = "usable",	  [BOOT_MEM_ACPI_RECLAIM] = "ACPI tables",
		[BOOT_MEM_ACPI_NVS] = "ACPI NVS", [BOOT_MEM_BAD] = "bad",
		[BOOT_MEM_RESERVED] = "reserved",
	};

	for (size_t i = 0; i < info.nr_mem; i++) {
		const struct mem_range *r = &info.mem[i].range;

		log_debug("memory %016lx-%016lx %s", r->base.v, r->base.v + r->size - 1,
			  names[info.mem[i].type]);
	}
	for (size_t i = 0; i < info.nr_modules; i++)
		log_debug("module %016lx-%016lx %s", info.modules[i].base.v,
			  info.modules[i].base.v + info.modules[i].size, info.modules[i].name);
	log_debug("image  %016lx-%016lx", info.image.base.v,
		  info.image.base.v + info.image.size - 1);
}

static void take_memory(void)
{
	size_t dropped;

	boot_memory_build(&info, paging_limit(), &memory);
	dropped = boot_memory_check_modules(&info, &memory);
	if (dropped)
		log_err("boot loader: %zu modules lie outside of memory or overlap, and are not "
			"used",
			dropped);
	log_memory_map();
	paging_init(info.image, &memory);
	if (frames_init(memory.free.r, memory.free.n))
		panic("no free memory: firmware reports %lu MiB usable", to_mib(memory.reported));
	log_info("memory: %lu MiB, %lu MiB free", to_mib(memory.reported),
		 to_mib(frames_stat().free * PAGE_SIZE));
}

static void keep_modules(void)
{
	for (size_t i = 0; i < info.nr_modules; i++) {
		struct boot_module *m = &info.modules[i];

		m->data = m->size ? direct_map(m->base) : "";
		modules[i] = (struct vm_module){m->name, m->data, m->size};
	}
}

/* Where section `s` of our ELF file can be read; NULL when the loader put it nowhere we can reach.
 */
static const void *section_data(const struct boot_section *s)
{
	return range_set_contains(&memory.ram, s->addr, s->size) ? direct_map(pa(s->addr)) : NULL;
}

static void keep_symbols(void)
{
	for (size_t i = 0; i < info.nr_sections; i++) {
		const struct boot_section *syms = &info.sections[i];

		if (syms->type != SHT_SYMTAB)
			continue;
		for (size_t k = 0; k < info.nr_sections; k++) {
			const struct boot_section *strings = &info.sections[k];

			if (strings->index == syms->link && section_data(syms) &&
			    section_data(strings))
				symbols_init(section_data(syms), syms->size, section_data(strings),
					     strings->size);
		}
	}
}

/* ---- ACPI ---- */

static const void *map_firmware(void *ctx, pa_t p, size_t size)
{
	(void)ctx;
	return paging_map_firmware(p, size);
}

static void read_acpi(void)
{
	const struct acpi_memory mem = {map_firmware, NULL};
	uint8_t rsdp[36];
	size_t size = info.rsdp_v2_size;
	int r;

	memcpy(rsdp, info.rsdp_v2, sizeof(rsdp));
	if (size == 0) {
		size = info.rsdp_v1_size;
		memcpy(rsdp, info.rsdp_v1, sizeof(info.rsdp_v1));
	}
	if (size == 0 && !info.uefi)
		size = acpi_find_rsdp(&mem, rsdp);
	r = acpi_parse(rsdp, size, &mem, &acpi);
	for (size_t i = 0; i < acpi.nr_complaints; i++)
		log_warn("%s", acpi.complaints[i]);
	if (r)
		log_warn(
			"no usable ACPI tables: one CPU, console without interrupts, no power-off");
}

static void describe_machine(void)
{
	const struct machine_info *m = machine_info();

	log_info("cpu: %s, %u known", m->cpu_name, m->nr_cpus);
	if (m->nr_cpus_ignored)
		log_warn("%u CPUs are more than Sluice can use", m->nr_cpus_ignored);
	log_info("clock: tsc %lu.%03lu MHz by %s, %s timer; %s", m->tsc_hz / 1000000,
		 m->tsc_hz / 1000 % 1000, m->clock, m->timer, m->interrupts);
	log_debug("features: %s", m->cpu_features);
	log_debug("firmware: %s, loader: %s", m->firmware, m->loader);
	if (!time_tsc_invariant())
		log_debug("the TSC is not announced as invariant");
}

void boot_main(uint32_t info_at, uint32_t image_base)
{
	static struct vm_boot vm;

	time_start();
	percpu_init(&boot_percpu, &boot_stacks, 0, cpuid(1).ebx >> 24);
	percpu_load(&boot_percpu);
	traps_init();
	parse_loader_info(info_at, image_base);
	take_memory();
	keep_modules();
	keep_symbols();
	read_acpi();
	machine_init(&acpi, info.uefi ? "UEFI" : "BIOS", info.loader, memory.reported,
		     memory.trampoline);
	describe_machine();
	vm = (struct vm_boot){info.cmdline, modules, info.nr_modules};
	vm_main(&vm);
}
