/* SPDX-License-Identifier: BSD-2-Clause */
/* See fake_vm.h. */
#include "tests/unit/fake_vm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/hw.h"
#include "arch/machine.h"
#include "lib/errno.h"
#include "mm/frames.h"
#include "mm/reclaim.h"
#include "tlbi/tags.h"
#include "vm/board.h"
#include "vm/console.h"
#include "vm/guestmem.h"
#include "vm/monitor.h"
#include "vm/pcpu.h"
#include "vm/sched.h"
#include "vm/vcpu.h"
#include "vm/vm.h"

uint64_t fake_now, fake_now_step, fake_timer = UINT64_MAX;
unsigned fake_timer_sets, fake_idles;
void (*fake_on_now)(void);
bool fake_interrupts_allowed = true;
char fake_out[1 << 20];
size_t fake_out_len, fake_tx_room = SIZE_MAX, fake_rx_left;
bool fake_tx_waiting;
jmp_buf fake_power;
const char *fake_virt_error, *fake_board_error;
char fake_calls[4096], fake_input[1 << 16];
size_t fake_room, fake_input_len;
unsigned fake_drained, fake_live_vcpus, fake_live_mem, fake_live_boards;
enum vcpu_run (*fake_run)(struct vcpu *v);
bool fake_event;
int fake_vcpu_create_error;

static char rx[1 << 16];
static size_t rx_at;

static void called(const char *what)
{
	size_t used = strlen(fake_calls);

	snprintf(fake_calls + used, sizeof(fake_calls) - used, "%s ", what);
}

/* --- machine --- */

uint64_t machine_now(void)
{
	if (fake_on_now)
		fake_on_now();
	return fake_now += fake_now_step;
}

void machine_timer_set(uint64_t deadline_ns)
{
	fake_timer = deadline_ns;
	fake_timer_sets++;
}

void machine_take_interrupts(void)
{
	if (fake_interrupts_allowed && fake_timer <= fake_now) {
		fake_timer = UINT64_MAX;
		pcpu_raise(PCPU_WORK_TIMER);
	}
}

static jmp_buf *idle_leaves;

void machine_idle(void)
{
	fake_idles++;
	if (idle_leaves && fake_timer == UINT64_MAX)
		longjmp(*idle_leaves, 1);
	if (fake_timer != UINT64_MAX && fake_timer > fake_now)
		fake_now = fake_timer;
	machine_take_interrupts();
}

void fake_idle_leaves(jmp_buf *to)
{
	idle_leaves = to;
}

size_t machine_console_tx(const char *s, size_t n)
{
	n = n < fake_tx_room ? n : fake_tx_room;
	if (fake_tx_room != SIZE_MAX)
		fake_tx_room -= n;
	if (n > sizeof(fake_out) - 1 - fake_out_len)
		n = sizeof(fake_out) - 1 - fake_out_len;
	memcpy(fake_out + fake_out_len, s, n);
	fake_out_len += n;
	fake_out[fake_out_len] = '\0';
	return n;
}

void machine_console_tx_wait(bool on)
{
	fake_tx_waiting = on;
}

int machine_console_rx(void)
{
	if (fake_rx_left == 0)
		return -1;
	fake_rx_left--;
	return (unsigned char)rx[rx_at++];
}

void machine_poweroff(void)
{
	longjmp(fake_power, 1);
}

void machine_reboot(void)
{
	longjmp(fake_power, 2);
}

unsigned machine_start_cpus(const char *(*ready)(void), void (*run)(void))
{
	(void)ready;
	(void)run;
	return 1;
}

const struct machine_info *machine_info(void)
{
	static const struct machine_cpu cpus[2] = {{.hw_id = 0, .usable = true, .running = true},
						   {.hw_id = 4, .usable = true}};
	static const struct machine_info info = {
		.nr_cpus = 2, .cpus = cpus, .cpu_name = "Fake CPU", .tsc_hz = 2000000000};

	return &info;
}

void fake_out_reset(void)
{
	fake_out_len = 0;
	fake_out[0] = '\0';
}

void fake_type_bytes(const char *s, size_t n)
{
	memmove(rx, rx + rx_at, fake_rx_left);
	rx_at = 0;
	if (n > sizeof(rx) - fake_rx_left)
		abort();
	memcpy(rx + fake_rx_left, s, n);
	fake_rx_left += n;
	pcpu_raise(PCPU_WORK_CONSOLE);
}

void fake_type(const char *s)
{
	fake_type_bytes(s, strlen(s));
}

/* --- core --- */

struct frames_stat frames_stat(void)
{
	return (struct frames_stat){
		.total = 262144, .free = 131072, .reserved = 512, .overhead = 7};
}

uint64_t reclaim_pending(void)
{
	return 3;
}

struct tlbi_stat tlbi_stat(unsigned pcpu)
{
	return (struct tlbi_stat){.entries = 1000 + pcpu,
				  .clean = 900,
				  .flush_tag = 40,
				  .flush_root = 5,
				  .flush_all = 6,
				  .new_tag = 70,
				  .kicks = 8,
				  .coalesced = 9};
}

void tlbi_init(void)
{
}

int tlbi_pcpu_init(unsigned pcpu)
{
	(void)pcpu;
	return 0;
}

void tlbi_vcpu_init(struct tlbi_vcpu *v)
{
	memset(v, 0, sizeof(*v));
}

int guestmem_init(struct guestmem *gm, char *err, size_t err_size)
{
	(void)err;
	(void)err_size;
	memset(gm, 0, sizeof(*gm));
	fake_live_mem++;
	called("mem+");
	return 0;
}

void guestmem_destroy(struct guestmem *gm)
{
	gm->populated.v = 0;
	fake_live_mem--;
	called("mem-");
}

/* Every second fault maps 2 MiB (512 frames), the others one frame; RAM ends at 8 MiB. */
enum gm_fault guestmem_fault(struct guestmem *gm, ipa_t at, unsigned access)
{
	bool large = (at.v & 0x1fffff) == 0;

	(void)access;
	if (at.v >= 8 << 20)
		return GM_ERROR;
	gm->populated.v += large ? 512 : 1;
	return GM_RESOLVED;
}

uint64_t guestmem_populated_pages(const struct guestmem *gm)
{
	return gm->populated.v;
}

/* --- board --- */

int board_create(struct vm *vm, char *err, size_t err_size)
{
	(void)vm;
	(void)err;
	(void)err_size;
	fake_live_boards++;
	called("board+");
	return 0;
}

void board_destroy(struct vm *vm)
{
	(void)vm;
	fake_live_boards--;
	called("board-");
}

int board_boot(struct vm *vm, char *err, size_t err_size)
{
	called("boot");
	vm->mem.nr_slots.v = 1;
	vm->mem.slots[0].size = vm->conf.memory;
	if (!fake_board_error)
		return 0;
	snprintf(err, err_size, "%s", fake_board_error);
	return -ENOEXEC;
}

void board_pause(struct vm *vm)
{
	(void)vm;
	called("pause");
}

void board_resume(struct vm *vm)
{
	(void)vm;
	called("resume");
}

size_t board_console_room(const struct vm *vm)
{
	(void)vm;
	return fake_room;
}

void board_console_input(struct vm *vm, const char *data, size_t len)
{
	(void)vm;
	if (len > fake_room)
		abort(); /* would be lost */
	fake_room -= len;
	memcpy(fake_input + fake_input_len, data, len);
	fake_input_len += len;
	fake_input[fake_input_len] = '\0';
}

void board_console_drained(struct vm *vm)
{
	(void)vm;
	fake_drained++;
}

void board_power_button(struct vm *vm)
{
	(void)vm;
	called("button");
}

/* --- vCPUs --- */

const char *arch_virt_init(void)
{
	return fake_virt_error;
}

const char *arch_virt_describe(void)
{
	return "fake virtualisation";
}

int arch_vcpu_create(struct vcpu *v)
{
	if (fake_vcpu_create_error)
		return fake_vcpu_create_error;
	v->arch = (struct vcpu_arch *)v;
	fake_live_vcpus++;
	called("vcpu+");
	return 0;
}

void arch_vcpu_destroy(struct vcpu *v)
{
	v->arch = NULL;
	fake_live_vcpus--;
	called("vcpu-");
}

enum vcpu_run arch_vcpu_run(struct vcpu *v)
{
	fake_now += 1000000;
	return fake_run ? fake_run(v) : VCPU_RUN_WORK;
}

void arch_vcpu_put(struct vcpu *v)
{
	(void)v;
}

bool arch_vcpu_has_event(const struct vcpu *v)
{
	(void)v;
	return fake_event;
}

size_t arch_vcpu_report(const struct vcpu *v, char *buf, size_t n)
{
	return (size_t)snprintf(buf, n, "rip 0x1234 of vCPU %u\nrsp 0x5678\n", v->id);
}

const char *arch_vcpu_exit_name(unsigned i)
{
	static const char *const names[] = {"hlt", "cpuid", "port"};

	return i < 3 ? names[i] : NULL;
}

/* --- start --- */

void fake_start(void)
{
	while (vm_first()) {
		vm_destroy(vm_first());
		vm_undefine(vm_first());
	}
	if (!this_pcpu())
		pcpu_init(PCPU_BOOT);
	timer_queue_init(&this_pcpu()->timers, 0);
	this_pcpu()->slice.armed = false;
	fake_now = 1000;
	fake_now_step = 0;
	fake_timer = UINT64_MAX;
	fake_tx_room = SIZE_MAX;
	fake_tx_waiting = false;
	fake_rx_left = rx_at = 0;
	fake_calls[0] = '\0';
	fake_room = fake_input_len = 0;
	fake_virt_error = fake_board_error = NULL;
	fake_drained = fake_idles = fake_timer_sets = 0;
	fake_run = NULL;
	fake_on_now = NULL;
	fake_event = false;
	fake_vcpu_create_error = 0;
	fake_interrupts_allowed = true;
	vm_on_last_end(NULL);
	vm_set_unavailable(NULL);
	pcpu_take_work();
	monitor_init();
	console_init();
	fake_out_reset();
	monitor_front(true);
}

void fake_steps(unsigned n)
{
	while (n-- > 0)
		sched_step();
}
