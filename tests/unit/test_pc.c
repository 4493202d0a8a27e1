/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The assembled PC, by its ports and memory as a vCPU reaches them: wiring of interrupts, ways to
 * end, what power-on leaves in memory, pauses, resets, and what nobody answers.
 */
// links: vm/x86/pc.c vm/x86/memmap.c vm/x86/acpi_tables.c vm/bus.c vm/clock.c vm/timer.c
// links: vm/dev/acpi_pm.c vm/dev/debug_exit.c vm/dev/i8042.c vm/dev/i8254.c vm/dev/i8259.c
// links: vm/dev/ioapic.c vm/dev/lapic.c vm/dev/lapic_bus.c vm/dev/lapic_regs.c vm/dev/lapic_timer.c
// links: vm/dev/pci.c vm/dev/reset_ctl.c vm/dev/rtc.c vm/dev/uart16550.c
#include "vm/x86/pc.h"

#include <stdarg.h>
#include <stdlib.h>

#include "arch/vcpu.h"
#include "lib/errno.h"
#include "lib/util.h"
#include "tests/host/devrig.h"
#include "tests/host/guestmem_flat.h"
#include "tests/tap.h"
#include "vm/board.h"
#include "vm/console.h"
#include "vm/dev/lapic.h"
#include "vm/init.h"
#include "vm/load/load.h"
#include "vm/vcpu.h"
#include "vm/vm.h"

#define NS_PER_SEC 1000000000ULL

/* ---- the rest of the hypervisor ---- */

static struct vm vm;
static struct vcpu vcpu;
static char err[160];

static enum vm_cause stop_cause;
static int stop_status;
static unsigned stops;

void vm_stop(struct vm *v, enum vm_cause cause, int status, const char *fmt, ...)
{
	(void)v;
	(void)fmt;
	stop_cause = cause;
	stop_status = status;
	stops++;
}

static char console[256];
static size_t console_len, console_limit;
static unsigned room_calls;

size_t console_guest_write(struct vm *v, const char *data, size_t len)
{
	size_t n = min_u64(len, console_limit - console_len);

	(void)v;
	memcpy(console + console_len, data, n);
	console_len += n;
	return n;
}

void console_guest_room(struct vm *v)
{
	(void)v;
	room_calls++;
}

static const struct vm_module modules[] = {
	{.name = "vmlinuz", .data = "kernel", .size = 6},
	{.name = "initrd.img", .data = "initrd", .size = 6},
	{.name = "mod", .data = "module", .size = 6},
};

const struct vm_module *vm_module_find(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(modules); i++)
		if (strcmp(modules[i].name, name) == 0)
			return &modules[i];
	return NULL;
}

static struct load_request
	loaded; /* pointers into the caller's stack: looked at in the call only */
static bool loaded_right;
static int load_result;

int load_kernel(struct guestmem *gm, const struct load_request *req, struct vcpu_start *out,
		char *e, size_t err_size)
{
	loaded = *req;
	loaded_right = gm == &vm.mem && memcmp(req->kernel.data, "kernel", 6) == 0 &&
		       req->initrd != NULL && memcmp(req->initrd->data, "initrd", 6) == 0 &&
		       req->nr_modules == 1 && strcmp(req->modules[0].args, "a b") == 0 &&
		       strcmp(req->cmdline, "console=ttyS0") == 0;
	if (load_result != 0)
		snprintf(e, err_size, "the loader's own words");
	*out = (struct vcpu_start){.mode = START_X86_LONG, .entry = 0x1000200};
	return load_result;
}

static uint64_t started_at;

void arch_vcpu_start(struct vcpu *v, const struct vcpu_start *start)
{
	started_at = v == &vcpu ? start->entry : 0;
}

unsigned arch_guest_phys_bits(void)
{
	return 40;
}

static unsigned kicks;

static void op_kick(void *v)
{
	kicks += v == &vcpu;
}

static void op_nothing(void *v)
{
	(void)v;
}

static void op_sipi(void *v, uint8_t vector)
{
	(void)v;
	(void)vector;
}

static uint64_t op_tsc(void *v)
{
	(void)v;
	return 0;
}

static uint64_t op_tsc_to_host(void *v, uint64_t tsc)
{
	(void)v;
	(void)tsc;
	return TIMER_NEVER;
}

const struct lapic_ops *arch_lapic_ops(void)
{
	static const struct lapic_ops ops = {.kick = op_kick,
					     .nmi = op_nothing,
					     .init = op_nothing,
					     .sipi = op_sipi,
					     .tsc_now = op_tsc,
					     .tsc_to_host = op_tsc_to_host};

	return &ops;
}

/* ---- the test ---- */

static void outb(uint16_t port, uint8_t val)
{
	pc_pio_write(&vcpu, port, 1, val);
}

static uint8_t inb(uint16_t port)
{
	return (uint8_t)pc_pio_read(&vcpu, port, 1);
}

static void mmio_write32(uint64_t gpa, uint32_t val)
{
	pc_mmio_write(&vcpu, gpa, 4, val);
}

static uint32_t mmio_read32(uint64_t gpa)
{
	uint64_t val;

	pc_mmio_read(&vcpu, gpa, 4, &val);
	return (uint32_t)val;
}

/* Power-on; the VM's clock is the rig's. */
static int power_on(void)
{
	int ret = guestmem_init(&vm.mem, err, sizeof(err));

	vclock_reset(&vm.clock);
	if (ret == 0)
		ret = board_boot(&vm, err, sizeof(err));
	if (ret == 0) {
		vclock_start(&vm.clock);
		board_resume(&vm);
	}
	return ret;
}

static void power_off(void)
{
	board_pause(&vm);
	vclock_stop(&vm.clock);
	guestmem_destroy(&vm.mem);
}

static int setup(unsigned devices)
{
	memset(&vm, 0, sizeof(vm));
	strcpy(vm.conf.name, "t");
	strcpy(vm.conf.kernel, "vmlinuz");
	strcpy(vm.conf.initrd, "initrd.img");
	strcpy(vm.conf.cmdline, "console=ttyS0");
	strcpy(vm.conf.modules[0].name, "mod");
	strcpy(vm.conf.modules[0].args, "a b");
	vm.conf.nr_modules = 1;
	vm.conf.memory = 64 * MIB;
	vm.conf.vcpus = 1;
	vm.conf.devices = devices;
	vm.nr_vcpus = 1;
	vm.vcpus[0] = &vcpu;
	vcpu = (struct vcpu){.vm = &vm};
	stops = kicks = room_calls = 0;
	console_len = 0;
	console_limit = sizeof(console);
	load_result = 0;
	rig_reset();
	rig_wallclock = 1774828798ULL * NS_PER_SEC; /* 2026-03-29 23:59:58 */
	return board_create(&vm, err, sizeof(err));
}

static void teardown(void)
{
	power_off();
	board_destroy(&vm);
}

/* 8259s at vectors 0x20 and 0x28, all but `mask` masked. */
static void init_pics(uint16_t mask)
{
	outb(0x20, 0x11);
	outb(0x21, 0x20);
	outb(0x21, 0x04);
	outb(0x21, 0x01);
	outb(0xa0, 0x11);
	outb(0xa1, 0x28);
	outb(0xa1, 0x02);
	outb(0xa1, 0x01);
	outb(0x21, (uint8_t)mask);
	outb(0xa1, (uint8_t)(mask >> 8));
}

static void ioapic_route(unsigned pin, uint32_t low)
{
	mmio_write32(0xfec00000, 0x11 + 2 * pin);
	mmio_write32(0xfec00010, 0);
	mmio_write32(0xfec00000, 0x10 + 2 * pin);
	mmio_write32(0xfec00010, low);
}

static void test_boot(void)
{
	ok(setup(0) == 0 && power_on() == 0, "a PC is built and switched on");
	ok(loaded_right, "the loader got kernel, initrd, module and command line");
	is_u64(loaded.rsdp, 0xe0000, "and the RSDP's address");
	ok(loaded.nr_e820 == 6 && loaded.e820[3].size == 63 * MIB, "and the memory map");
	is_u64(started_at, 0x1000200, "vCPU 0 starts where the loader said");
	ok(memcmp(guestmem_flat_at(&vm.mem, 0xe0000, 8), "RSD PTR ", 8) == 0, "tables are there");
	is_u64(guestmem_ram_bytes(&vm.mem), 64 * MIB - 128 * KIB, "RAM but for the display hole");
	outb(0x70, 0x00);
	is_u64(inb(0x71), 0x58, "the clock shows the machine's time");
	rig_advance(3 * NS_PER_SEC);
	is_u64(inb(0x71), 0x01, "and goes");
	teardown();
}

static void test_pic(void)
{
	setup(0);
	power_on();
	ok(!pc_pic_pending(&vcpu) && pc_pic_ack(&vcpu) == -1, "quiet after power-on");
	init_pics(0xfffe & ~(1u << 2));
	outb(0x43, 0x34);
	outb(0x40, 0x9c);
	outb(0x40, 0x2e); /* 100 Hz */
	kicks = 0;
	rig_advance(9000000);
	ok(!pc_pic_pending(&vcpu), "no tick after 9 ms");
	rig_advance(2000000);
	ok(pc_pic_pending(&vcpu) && kicks > 0, "PIT: IRQ 0 by the 8259 and LINT0, vCPU kicked");
	is_u64((uint64_t)pc_pic_ack(&vcpu), 0x20, "vector 0x20");
	outb(0x20, 0x20);
	ok(!pc_pic_pending(&vcpu), "acknowledged");
	outb(0x21, 0xfb);
	outb(0xa1, 0xfe); /* IRQ 8 */
	outb(0x70, 0x0b);
	outb(0x71, 0x12);
	rig_advance(NS_PER_SEC);
	is_u64((uint64_t)pc_pic_ack(&vcpu), 0x28, "RTC: IRQ 8, vector 0x28");
	mmio_write32(0xfee00350, 0x10000 | 0x700); /* mask LINT0 */
	outb(0xa0, 0x20);
	outb(0x20, 0x20);
	outb(0x70, 0x0c);
	inb(0x71);
	rig_advance(NS_PER_SEC);
	ok(!pc_pic_pending(&vcpu), "a masked LINT0 stops the 8259");
	teardown();
}

static void test_ioapic(void)
{
	struct lapic *apic;

	setup(0);
	power_on();
	apic = pc_lapic(&vcpu);
	is_u64(mmio_read32(0xfee00030) & 0xff, 0x14, "local APIC by memory");
	mmio_write32(0xfee000f0, 0x1ff);
	mmio_write32(0xfec00000, 1);
	is_u64(mmio_read32(0xfec00010), 0x00170020, "I/O APIC: 24 inputs, version 0x20");
	ioapic_route(2, 0x31);
	ioapic_route(4, 0x34);
	ioapic_route(8, 0x38);
	ioapic_route(9, 0x8039); /* level */
	outb(0x43, 0x38);
	outb(0x40, 0x10);
	outb(0x40, 0x00);
	rig_advance(1000000);
	is_u64((uint64_t)lapic_pending(apic), 0x31, "PIT at input 2");
	lapic_ack(apic, 0x31);
	lapic_eoi(apic);
	outb(0x3fc, 0x08);
	outb(0x3f9, 0x01);
	board_console_input(&vm, "k", 1);
	is_u64((uint64_t)lapic_pending(apic), 0x34, "a key: COM1 at input 4");
	is_u64(board_console_room(&vm), 0, "its buffer is full");
	is_u64(inb(0x3f8), 'k', "the key");
	is_u64(room_calls, 2, "the console hears of the room (power-on, read)");
	lapic_ack(apic, 0x34);
	lapic_eoi(apic);
	pc_pio_write(&vcpu, 0x602, 2, 0x0100);
	board_power_button(&vm);
	is_u64((uint64_t)lapic_pending(apic), 0x39, "power button: SCI at input 9");
	lapic_ack(apic, 0x39);
	lapic_eoi(apic);
	is_u64((uint64_t)lapic_pending(apic), 0x39, "level: again while it is asserted");
	pc_pio_write(&vcpu, 0x600, 2, 0x0100);
	lapic_ack(apic, 0x39);
	lapic_eoi(apic);
	is_u64((uint64_t)(int64_t)lapic_pending(apic), UINT64_MAX, "cleared: no more");
	teardown();
}

static void test_console(void)
{
	setup(0);
	power_on();
	outb(0x3f8, 'h');
	outb(0x3f8, 'i');
	ok(console_len == 2 && memcmp(console, "hi", 2) == 0, "output reaches the console");
	console_limit = 2;
	outb(0x3f8, '!');
	is_u64(inb(0x3fd) & 0x20, 0, "a console that is behind holds the transmitter");
	console_limit = 3;
	board_console_drained(&vm);
	ok((inb(0x3fd) & 0x20) && console_len == 3, "until it takes output again");
	teardown();
	is_u64(board_console_room(&vm), 0, "no board, no room");
	board_console_input(&vm, "x", 1);
	board_console_drained(&vm);
	board_power_button(&vm);
	board_pause(&vm);
	board_resume(&vm);
	board_destroy(&vm);
	ok(vm.pc == NULL, "and all the rest is harmless without one");
}

static void expect_stop(const char *name, enum vm_cause cause, int status)
{
	ok(stops == 1 && stop_cause == cause && stop_status == status, "%s", name);
	stops = 0;
}

static void test_ends(void)
{
	setup(CONF_DEVICE_DEBUG_EXIT);
	power_on();
	outb(0xcf9, 0x02);
	ok(stops == 0, "0xcf9 = 2 alone does not reset");
	outb(0xcf9, 0x06);
	expect_stop("0xcf9 = 6 resets", VM_CAUSE_RESET, 0);
	pc_pio_write(&vcpu, 0xcf8, 4, 0x80000600);
	ok(stops == 0, "a dword at 0xcf8 with 6 in its second byte is an address");
	is_u64(pc_pio_read(&vcpu, 0xcf8, 4), 0x80000600, "of PCI");
	outb(0x64, 0xfe);
	expect_stop("keyboard controller resets", VM_CAUSE_RESET, 0);
	outb(0x92, 0x01);
	expect_stop("port 0x92 resets", VM_CAUSE_RESET, 0);
	pc_pio_write(&vcpu, 0x604, 2, 5 << 10 | 1 << 13);
	expect_stop("S5 powers off", VM_CAUSE_POWEROFF, 0);
	pc_pio_write(&vcpu, 0xf4, 4, 7);
	expect_stop("debug exit ends with its status", VM_CAUSE_EXITED, 7);
	teardown();

	setup(0);
	power_on();
	outb(0xf4, 1);
	ok(stops == 0 && inb(0xf4) == 0xff, "which is not there unless asked for");
	teardown();
}

static void test_nobody(void)
{
	static const uint16_t absent[] = {0x1f7, 0x177, 0x3f5, 0x2fd, 0x3c0, 0x80, 0x170, 0xffff};
	struct pc_stats stats;
	uint64_t val;
	unsigned wrong = 0;

	setup(0);
	power_on();
	for (unsigned i = 0; i < ARRAY_SIZE(absent); i++)
		wrong += inb(absent[i]) != 0xff;
	ok(wrong == 0, "absent devices read ones");
	is_u64(pc_pio_read(&vcpu, 0x1f0, 4), 0xffffffff, "by dword too");
	outb(0x80, 1);
	ok(!pc_mmio_read(&vcpu, 0xfed00000, 8, &val) && val == UINT64_MAX, "no HPET");
	ok(!pc_mmio_write(&vcpu, 0xa0000, 4, 0), "no display");
	stats = pc_stats(vm.pc);
	ok(stats.unclaimed_pio_reads == 9 && stats.unclaimed_pio_writes == 1 &&
		   stats.unclaimed_mmio_reads == 1 && stats.unclaimed_mmio_writes == 1,
	   "all of it counted");
	/* Every port in every width, read and written: nothing but ends may come of it. */
	for (uint32_t port = 0; port < 0x10000; port++)
		for (unsigned size = 1; size <= 4; size *= 2) {
			pc_pio_write(&vcpu, (uint16_t)port, size, 0xa5a5a5a5u ^ port * 2654435761u);
			wrong += size < 4 &&
				 pc_pio_read(&vcpu, (uint16_t)port, size) >> (8 * size) != 0;
		}
	rig_advance(NS_PER_SEC);
	ok(wrong == 0, "a guest that touches every port gets values of the right size");
	teardown();
	ok(rig_next_timer() == UINT64_MAX, "no timer outlives the board");
}

static void test_reset(void)
{
	setup(0);
	power_on();
	init_pics(0);
	outb(0x43, 0x34);
	outb(0x40, 0x9c);
	outb(0x40, 0x2e);
	outb(0x3fc, 0x08);
	outb(0x3f9, 0x0f);
	outb(0x70, 0x0b); /* the clock an hour ahead */
	outb(0x71, 0x82);
	outb(0x70, 0x04);
	outb(0x71, 0x22);
	outb(0x70, 0x0b);
	outb(0x71, 0x02);
	rig_advance(50000000);
	ok(pc_pic_pending(&vcpu), "a busy guest");
	power_off();
	rig_advance(NS_PER_SEC);
	ok(rig_next_timer() == UINT64_MAX, "switched off: no timer");
	started_at = 0;
	ok(power_on() == 0 && started_at == 0x1000200, "the same board starts again");
	ok(!pc_pic_pending(&vcpu), "nothing pending from before");
	rig_advance(NS_PER_SEC);
	ok(!pc_pic_pending(&vcpu) && inb(0x3f9) == 0, "devices are as after power-on");
	outb(0x70, 0x04);
	is_u64(inb(0x71), 0x23, "but the clock kept what the guest set, and went on");
	teardown();
}

static void test_failures(void)
{
	setup(0);
	strcpy(vm.conf.initrd, "gone.img");
	ok(power_on() == -ENOENT && strstr(err, "gone.img"), "a missing module by name: %s", err);
	teardown();
	setup(0);
	load_result = -ENOEXEC;
	ok(power_on() == -ENOEXEC && strcmp(err, "the loader's own words") == 0,
	   "the loader's error is passed on");
	teardown();
	ok(setup(0) == 0, "again");
	board_destroy(&vm);
	memset(&vm, 0, sizeof(vm));
	vm.nr_vcpus = 1;
	vm.vcpus[0] = &vcpu;
	vm.conf.memory = 12345;
	ok(board_create(&vm, err, sizeof(err)) == -EINVAL && vm.pc == NULL, "bad size: %s", err);
}

int main(void)
{
	test_boot();
	test_pic();
	test_ioapic();
	test_console();
	test_ends();
	test_nobody();
	test_reset();
	test_failures();
	return tap_done();
}
