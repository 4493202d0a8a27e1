/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The PC board: which devices there are, at which addresses, on which interrupt lines, and how it
 * is switched on.
 */
#include "vm/board.h"
#include "vm/x86/pc.h"

#include "arch/machine.h"
#include "arch/vcpu.h"
#include "lib/atomic.h"
#include "lib/check.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/util.h"
#include "mm/kalloc.h"
#include "vm/bus.h"
#include "vm/console.h"
#include "vm/dev/acpi_pm.h"
#include "vm/dev/debug_exit.h"
#include "vm/dev/i8042.h"
#include "vm/dev/i8254.h"
#include "vm/dev/i8259.h"
#include "vm/dev/ioapic.h"
#include "vm/dev/lapic.h"
#include "vm/dev/pci.h"
#include "vm/dev/reset_ctl.h"
#include "vm/dev/rtc.h"
#include "vm/dev/uart16550.h"
#include "vm/guestmem.h"
#include "vm/init.h"
#include "vm/load/load.h"
#include "vm/vcpu.h"
#include "vm/vm.h"
#include "vm/x86/acpi_tables.h"
#include "vm/x86/memmap.h"

#define IRQ_TIMER    0
#define IRQ_KEYBOARD 1
#define IRQ_COM1     4
#define IRQ_RTC	     8
#define IRQ_SCI	     9
#define IRQ_MOUSE    12

#define GSI_TIMER 2 /* the override that the MADT names */

/*
 * Regions of guestmem_add_device: numbers on the MMIO bus, and one that is none of them for the
 * local APIC's page where it is after a reset. Each vCPU may have moved its own.
 */
#define REGION_LAPIC BUS_REGIONS

#define PORT_COM1      0x3f8
#define PORT_PCI       0xcf8
#define PCI_RESET_PORT (RESET_PORT - PORT_PCI)

struct pc {
	struct vm *vm;
	struct memmap map;
	struct bus pio, mmio;
	struct lapic_bus lapic_bus;
	struct lapic lapic[MAX_VCPUS];
	unsigned nr_lapics;
	struct ioapic ioapic;
	struct i8259 pic;
	struct i8254 pit;
	struct rtc rtc;
	struct uart16550 com1;
	struct pci pci;
	struct acpi_pm pm;
	struct i8042 kbc;
	struct reset_ctl reset;
	struct debug_exit debug_exit;
	atomic_u64 no_pio_reads, no_pio_writes, no_mmio_reads, no_mmio_writes;
};

/* ---- wiring ---- */

/* An ISA interrupt reaches both controllers; the guest masks the one it does not use. */
static void isa_irq(void *ctx, unsigned irq, bool level)
{
	struct pc *pc = ctx;

	i8259_set_irq(&pc->pic, irq, level);
	ioapic_set_irq(&pc->ioapic, irq == IRQ_TIMER ? GSI_TIMER : irq, level);
}

/* INTR of the 8259 pair is LINT0 of every local APIC. */
static void pic_intr(void *ctx, unsigned pin, bool level)
{
	struct pc *pc = ctx;

	(void)pin;
	for (unsigned i = 0; i < pc->nr_lapics; i++)
		lapic_lint0(&pc->lapic[i], level);
}

static void guest_reset(void *ctx)
{
	struct pc *pc = ctx;

	vm_stop(pc->vm, VM_CAUSE_RESET, 0, NULL);
}

static void guest_power_off(void *ctx)
{
	struct pc *pc = ctx;

	vm_stop(pc->vm, VM_CAUSE_POWEROFF, 0, NULL);
}

static void guest_exit(void *ctx, uint32_t status)
{
	struct pc *pc = ctx;

	vm_stop(pc->vm, VM_CAUSE_EXITED, (int)status, NULL);
}

static size_t com1_tx(void *ctx, const char *data, size_t len)
{
	struct pc *pc = ctx;

	return console_guest_write(pc->vm, data, len);
}

static void com1_rx_room(void *ctx)
{
	struct pc *pc = ctx;

	console_guest_room(pc->vm);
}

/*
 * 0xcf8-0xcff: PCI configuration, with the reset control register where chipsets have it, at the
 * second byte of the address register. The access width tells them apart.
 */
static uint64_t config_read(void *dev, uint64_t off, unsigned size)
{
	struct pc *pc = dev;

	if (off == PCI_RESET_PORT && size == 1)
		return reset_ctl_ops.read(&pc->reset, 0, 1);
	return pci_ops.read(&pc->pci, off, size);
}

static void config_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct pc *pc = dev;

	if (off == PCI_RESET_PORT && size == 1)
		reset_ctl_ops.write(&pc->reset, 0, 1, val);
	else
		pci_ops.write(&pc->pci, off, size, val);
}

static const struct io_ops config_ops = {.read = config_read, .write = config_write, .max_size = 4};

static int add_devices(struct pc *pc)
{
	const struct {
		struct bus *bus;
		uint64_t base, size;
		const struct io_ops *ops;
		void *dev;
		const char *name;
	} region[] = {
		{&pc->pio, 0x20, 2, &i8259_master_ops, &pc->pic, "8259 master"},
		{&pc->pio, 0xa0, 2, &i8259_slave_ops, &pc->pic, "8259 slave"},
		{&pc->pio, 0x4d0, 2, &i8259_elcr_ops, &pc->pic, "8259 edge/level"},
		{&pc->pio, 0x40, 4, &i8254_ops, &pc->pit, "8254"},
		{&pc->pio, 0x61, 1, &port61_ops, &pc->pit, "system port B"},
		{&pc->pio, 0x60, 1, &i8042_data_ops, &pc->kbc, "8042 data"},
		{&pc->pio, 0x64, 1, &i8042_command_ops, &pc->kbc, "8042 command"},
		{&pc->pio, 0x70, 2, &rtc_ops, &pc->rtc, "rtc"},
		{&pc->pio, 0x92, 1, &port92_ops, &pc->reset, "system port A"},
		{&pc->pio, PORT_COM1, 8, &uart16550_ops, &pc->com1, "com1"},
		{&pc->pio, ACPI_PM_BASE, ACPI_PM_PORTS, &acpi_pm_ops, &pc->pm, "acpi pm"},
		{&pc->pio, PORT_PCI, 8, &config_ops, pc, "pci config"},
		{&pc->mmio, IOAPIC_BASE, IOAPIC_SIZE, &ioapic_ops, &pc->ioapic, "ioapic"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(region); i++) {
		int ret = bus_add(region[i].bus, region[i].base, region[i].size, region[i].ops,
				  region[i].dev, region[i].name);

		if (ret != 0)
			return ret;
	}
	if (pc->vm->conf.devices & CONF_DEVICE_DEBUG_EXIT)
		return bus_add(&pc->pio, DEBUG_EXIT_PORT, DEBUG_EXIT_PORTS, &debug_exit_ops,
			       &pc->debug_exit, "debug-exit");
	return 0;
}

static int init_lapics(struct pc *pc)
{
	struct vm *vm = pc->vm;

	lapic_bus_init(&pc->lapic_bus);
	pc->lapic_bus.eoi = ioapic_eoi;
	pc->lapic_bus.eoi_ctx = &pc->ioapic;
	for (unsigned i = 0; i < vm->nr_vcpus; i++) {
		struct lapic_config config = {
			.bus = &pc->lapic_bus,
			.ops = arch_lapic_ops(),
			.vcpu = vm->vcpus[i],
			.clock = &vm->clock,
			.id = i,
			.phys_bits = arch_guest_phys_bits(),
			.features = LAPIC_HAS_X2APIC | LAPIC_HAS_TSC_DEADLINE,
			.bsp = i == 0,
		};
		int ret = lapic_init(&pc->lapic[i], &config);

		if (ret != 0)
			return ret;
		pc->nr_lapics++;
	}
	return 0;
}

static struct irq_line isa_line(struct pc *pc, unsigned irq)
{
	return (struct irq_line){.set = isa_irq, .ctx = pc, .pin = irq};
}

static void init_devices(struct pc *pc)
{
	const struct vclock *clock = &pc->vm->clock;
	struct irq_line intr = {.set = pic_intr, .ctx = pc}, timer = isa_line(pc, IRQ_TIMER),
			rtc = isa_line(pc, IRQ_RTC), com1 = isa_line(pc, IRQ_COM1),
			sci = isa_line(pc, IRQ_SCI), keyboard = isa_line(pc, IRQ_KEYBOARD),
			mouse = isa_line(pc, IRQ_MOUSE);
	struct uart16550_host host = {.tx = com1_tx, .rx_room = com1_rx_room, .ctx = pc};

	ioapic_create(&pc->ioapic, &pc->lapic_bus, IOAPIC_VERSION_EOI);
	i8259_init(&pc->pic, &intr);
	i8254_init(&pc->pit, clock, &timer);
	rtc_init(&pc->rtc, clock, &rtc, pc->map.low_end, pc->map.high_size);
	uart16550_init(&pc->com1, clock, &com1, &host);
	acpi_pm_init(&pc->pm, clock, &sci, guest_power_off, pc);
	i8042_init(&pc->kbc, &keyboard, &mouse, guest_reset, pc);
	reset_ctl_init(&pc->reset, guest_reset, pc);
	pci_init(&pc->pci);
	pc->debug_exit = (struct debug_exit){.exit = guest_exit, .ctx = pc};
	bus_init(&pc->pio);
	bus_init(&pc->mmio);
}

int board_create(struct vm *vm, char *err, size_t err_size)
{
	struct pc *pc;
	int ret;

	pc = kzalloc(sizeof(*pc));
	if (pc == NULL) {
		snprintf(err, err_size, "no memory for the devices");
		return -ENOMEM;
	}
	pc->vm = vm;
	ret = memmap_build(vm->conf.memory, &pc->map);
	if (ret != 0) {
		snprintf(err, err_size, "a PC cannot have %llu bytes of memory",
			 (unsigned long long)vm->conf.memory);
		goto fail;
	}
	init_devices(pc);
	ret = init_lapics(pc);
	if (ret == 0)
		ret = add_devices(pc);
	if (ret != 0) {
		snprintf(err, err_size, "the devices do not fit together (error %d)", -ret);
		goto fail;
	}
	vm->pc = pc;
	return 0;
fail:
	kfree(pc);
	return ret;
}

void board_destroy(struct vm *vm)
{
	if (vm->pc == NULL)
		return;
	board_pause(vm);
	kfree(vm->pc);
	vm->pc = NULL;
}

/* ---- power-on ---- */

static void reset_devices(struct pc *pc)
{
	i8254_reset(&pc->pit);
	rtc_reset(&pc->rtc, machine_wallclock());
	uart16550_reset(&pc->com1);
	acpi_pm_reset(&pc->pm);
	i8042_reset(&pc->kbc);
	reset_ctl_reset(&pc->reset);
	pci_reset(&pc->pci);
	/* Last, so that they forget what the lines did meanwhile. */
	i8259_reset(&pc->pic);
	ioapic_reset(&pc->ioapic);
	for (unsigned i = 0; i < pc->nr_lapics; i++)
		lapic_reset(&pc->lapic[i], LAPIC_RESET_POWER_ON);
	lapic_virtual_wire(&pc->lapic[0]);
}

static int add_ram(struct pc *pc, char *err, size_t err_size)
{
	for (unsigned i = 0; i < pc->map.nr_slots; i++) {
		const struct memmap_slot *s = &pc->map.slot[i];
		int ret = guestmem_add_ram(&pc->vm->mem, ipa(s->base), s->size);

		if (ret == -ENOMEM)
			snprintf(err, err_size, "not enough memory for its %llu MiB",
				 (unsigned long long)(pc->vm->conf.memory / MIB));
		else if (ret != 0)
			snprintf(err, err_size, "cannot have RAM at %#llx, %llu KiB (error %d)",
				 (unsigned long long)s->base, (unsigned long long)(s->size / KIB),
				 -ret);
		if (ret != 0)
			return ret;
	}
	return 0;
}

/* Devices that have no room are found by a search each time; nothing else is lost. */
static void add_device_pages(struct pc *pc)
{
	struct guestmem *mem = &pc->vm->mem;

	(void)guestmem_add_device(mem, ipa(LAPIC_BASE), LAPIC_SIZE, REGION_LAPIC);
	for (unsigned i = 0; i < pc->mmio.count; i++) {
		const struct bus_region *r = &pc->mmio.region[i];

		(void)guestmem_add_device(mem, ipa(r->base), r->size, bus_region_id(&pc->mmio, r));
	}
}

static int write_tables(struct pc *pc, char *err, size_t err_size)
{
	void *buf = kzalloc(ACPI_TABLES_MAX);
	int ret = -ENOMEM;

	if (buf != NULL)
		ret = acpi_tables_build(buf, ACPI_TABLES_MAX, MEMMAP_TABLES, pc->vm->nr_vcpus);
	if (ret > 0)
		ret = guestmem_write(&pc->vm->mem, ipa(MEMMAP_TABLES), buf, (size_t)ret);
	kfree(buf);
	if (ret != 0)
		snprintf(err, err_size, "cannot write the ACPI tables (error %d)", -ret);
	return ret;
}

/* Fills `image` from the boot module `name`. */
static int find_image(const char *name, const char *args, struct load_image *image, char *err,
		      size_t err_size)
{
	const struct vm_module *module = vm_module_find(name);

	if (module == NULL) {
		snprintf(err, err_size, "module %s is missing", name);
		return -ENOENT;
	}
	*image = (struct load_image){
		.name = module->name, .args = args, .data = module->data, .size = module->size};
	return 0;
}

static int load_images(struct pc *pc, struct vcpu_start *start, char *err, size_t err_size)
{
	const struct guest_conf *conf = &pc->vm->conf;
	struct load_image initrd, modules[CONF_MODULES_MAX];
	struct load_request req = {
		.modules = modules,
		.nr_modules = conf->nr_modules,
		.cmdline = conf->cmdline,
		.e820 = pc->map.e820,
		.nr_e820 = pc->map.nr_e820,
		.rsdp = MEMMAP_TABLES,
		.gib_pages = false, /* 2 MiB entries do for a boot and exist on every processor */
	};
	int ret = find_image(conf->kernel, "", &req.kernel, err, err_size);

	if (ret == 0 && conf->initrd[0] != '\0') {
		ret = find_image(conf->initrd, "", &initrd, err, err_size);
		req.initrd = &initrd;
	}
	for (unsigned i = 0; ret == 0 && i < conf->nr_modules; i++)
		ret = find_image(conf->modules[i].name, conf->modules[i].args, &modules[i], err,
				 err_size);
	if (ret != 0)
		return ret;
	return load_kernel(&pc->vm->mem, &req, start, err, err_size);
}

int board_boot(struct vm *vm, char *err, size_t err_size)
{
	struct pc *pc = vm->pc;
	struct vcpu_start start;
	int ret;

	reset_devices(pc);
	ret = add_ram(pc, err, err_size);
	if (ret == 0)
		ret = write_tables(pc, err, err_size);
	if (ret == 0)
		ret = load_images(pc, &start, err, err_size);
	if (ret != 0)
		return ret;
	add_device_pages(pc);
	arch_vcpu_start(vm->vcpus[0], &start);
	for (unsigned i = 1; i < vm->nr_vcpus; i++)
		arch_vcpu_start(vm->vcpus[i], NULL);
	return 0;
}

void board_pause(struct vm *vm)
{
	struct pc *pc = vm->pc;

	if (pc == NULL)
		return;
	i8254_pause(&pc->pit);
	rtc_pause(&pc->rtc);
	uart16550_pause(&pc->com1);
	acpi_pm_pause(&pc->pm);
	for (unsigned i = 0; i < pc->nr_lapics; i++)
		lapic_suspend(&pc->lapic[i]);
}

void board_resume(struct vm *vm)
{
	struct pc *pc = vm->pc;

	if (pc == NULL)
		return;
	i8254_resume(&pc->pit);
	rtc_resume(&pc->rtc);
	uart16550_resume(&pc->com1);
	acpi_pm_resume(&pc->pm);
	for (unsigned i = 0; i < pc->nr_lapics; i++)
		lapic_resume(&pc->lapic[i]);
}

/* ---- console and power button ---- */

size_t board_console_room(const struct vm *vm)
{
	return vm->pc != NULL ? uart16550_room(&vm->pc->com1) : 0;
}

void board_console_input(struct vm *vm, const char *data, size_t len)
{
	if (vm->pc != NULL)
		uart16550_input(&vm->pc->com1, data, len);
}

void board_console_drained(struct vm *vm)
{
	if (vm->pc != NULL)
		uart16550_drained(&vm->pc->com1);
}

void board_power_button(struct vm *vm)
{
	if (vm->pc != NULL)
		acpi_pm_power_button(&vm->pc->pm);
}

/* ---- accesses of the vCPUs ---- */

uint64_t pc_pio_read(struct vcpu *vcpu, uint16_t port, unsigned size)
{
	struct pc *pc = vcpu->vm->pc;
	uint64_t val;

	if (!bus_read(&pc->pio, port, size, &val))
		atomic_add64(&pc->no_pio_reads, 1);
	return val;
}

void pc_pio_write(struct vcpu *vcpu, uint16_t port, unsigned size, uint32_t val)
{
	struct pc *pc = vcpu->vm->pc;

	if (!bus_write(&pc->pio, port, size, val))
		atomic_add64(&pc->no_pio_writes, 1);
}

bool pc_region_read(struct vcpu *vcpu, uint32_t region, uint64_t gpa, unsigned size, uint64_t *val)
{
	struct pc *pc = vcpu->vm->pc;

	if (lapic_claims(pc_lapic(vcpu),
			 gpa)) { /* a compare; it lies over whatever else is there */
		*val = lapic_mmio_read(pc_lapic(vcpu), gpa, size);
		return true;
	}
	if (bus_read_region(&pc->mmio, region, gpa, size, val))
		return true;
	atomic_add64(&pc->no_mmio_reads, 1);
	return false;
}

bool pc_region_write(struct vcpu *vcpu, uint32_t region, uint64_t gpa, unsigned size, uint64_t val)
{
	struct pc *pc = vcpu->vm->pc;

	if (lapic_claims(pc_lapic(vcpu),
			 gpa)) { /* a compare; it lies over whatever else is there */
		lapic_mmio_write(pc_lapic(vcpu), gpa, size, val);
		return true;
	}
	if (bus_write_region(&pc->mmio, region, gpa, size, val))
		return true;
	atomic_add64(&pc->no_mmio_writes, 1);
	return false;
}

bool pc_mmio_read(struct vcpu *vcpu, uint64_t gpa, unsigned size, uint64_t *val)
{
	return pc_region_read(vcpu, GM_NO_REGION, gpa, size, val);
}

bool pc_mmio_write(struct vcpu *vcpu, uint64_t gpa, unsigned size, uint64_t val)
{
	return pc_region_write(vcpu, GM_NO_REGION, gpa, size, val);
}

struct lapic *pc_lapic(struct vcpu *vcpu)
{
	struct pc *pc = vcpu->vm->pc;

	CHECK(vcpu->id < pc->nr_lapics);
	return &pc->lapic[vcpu->id];
}

bool pc_pic_pending(struct vcpu *vcpu)
{
	return lapic_accepts_extint(pc_lapic(vcpu)) && i8259_intr(&vcpu->vm->pc->pic);
}

int pc_pic_ack(struct vcpu *vcpu)
{
	int vector;

	if (!pc_pic_pending(vcpu))
		return -1;
	vector = i8259_ack(&vcpu->vm->pc->pic);
	lapic_extint_taken(pc_lapic(vcpu));
	return vector;
}

struct pc_stats pc_stats(const struct pc *pc)
{
	return (struct pc_stats){
		.unclaimed_pio_reads = atomic_load64(&pc->no_pio_reads),
		.unclaimed_pio_writes = atomic_load64(&pc->no_pio_writes),
		.unclaimed_mmio_reads = atomic_load64(&pc->no_mmio_reads),
		.unclaimed_mmio_writes = atomic_load64(&pc->no_mmio_writes),
	};
}
