/* SPDX-License-Identifier: BSD-2-Clause */
/* The monitor's commands: a table at the end, each command one function. */
#include "vm/monitor.h"

#include <stddef.h>
#include <stdint.h>

#include "arch/machine.h"
#include "arch/vcpu.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "lib/util.h"
#include "mm/frames.h"
#include "mm/reclaim.h"
#include "tlbi/tags.h"
#include "vm/board.h"
#include "vm/cmdline.h"
#include "vm/console.h"
#include "vm/lineedit.h"
#include "vm/pcpu.h"
#include "vm/sched.h"
#include "vm/vcpu.h"
#include "vm/vm.h"

#define COLUMNS	 80
#define MAX_ARGS 8

struct command {
	const char *name;
	const char *args;  /* for the usage line */
	const char *brief; /* one line */
	const char *help;  /* more, for `help NAME`; "" when brief says it all */
	int min_args, max_args;
	bool takes_guest;		    /* the first argument is a guest's name */
	void (*run)(int argc, char **argv); /* argv[0] is the first argument */
};

static const struct command *find_command(const char *name);
static const struct command *nth_command(size_t i);

/* The line and the prompt are drawn with the console's lock held. */
static struct lineedit editor;
static bool in_front;
static bool executing; /* a command runs: the prompt comes when it has returned */

/* --- text ------------------------------------------------------------------------------------- */

/* 512M, 1536K: the largest unit that leaves no remainder. Returns buf. */
static const char *format_size(uint64_t bytes, char *buf, size_t size)
{
	static const char units[] = "BKMGT";
	unsigned unit = 0;

	while (units[unit + 1] && bytes >= 1024 && bytes % 1024 == 0) {
		bytes /= 1024;
		unit++;
	}
	snprintf(buf, size, "%llu%c", (unsigned long long)bytes, units[unit]);
	return buf;
}

/* Frames as MiB with one digit after the point. Returns buf. */
static const char *format_mib(uint64_t frames, char *buf, size_t size)
{
	uint64_t tenths = frames * 10 / 256;

	snprintf(buf, size, "%llu.%lluM", (unsigned long long)(tenths / 10),
		 (unsigned long long)(tenths % 10));
	return buf;
}

/* 12.345 of 12345678901 ns. Returns buf. */
static const char *format_seconds(uint64_t ns, char *buf, size_t size)
{
	uint64_t ms = ns / 1000000;

	snprintf(buf, size, "%llu.%03llu s", (unsigned long long)(ms / 1000),
		 (unsigned long long)(ms % 1000));
	return buf;
}

/* Prints words with commas in between, broken at the screen's edge. */
struct word_list {
	size_t column, count;
};

static void list_word(struct word_list *l, const char *word)
{
	if (l->count++ > 0) {
		console_printf(",");
		l->column++;
	}
	if (l->column + 1 + strlen(word) + 1 >= COLUMNS) {
		console_printf("\n ");
		l->column = 1;
	}
	console_printf(" %s", word);
	l->column += 1 + strlen(word);
}

/* --- finding ---------------------------------------------------------------------------------- */

static struct vm *find_guest(const char *name)
{
	struct vm *vm = vm_find(name);
	struct word_list l = {0};

	if (vm)
		return vm;
	console_printf("no guest '%.40s'", name);
	if (!vm_first()) {
		console_printf(": none is defined\n");
		return NULL;
	}
	console_printf("; there are:\n");
	for (vm = vm_first(); vm; vm = vm_next(vm))
		list_word(&l, vm->conf.name);
	console_printf("\n");
	return NULL;
}

static void usage(const struct command *c)
{
	console_printf("usage: %s%s%s\n", c->name, c->args[0] ? " " : "", c->args);
}

/* --- help ------------------------------------------------------------------------------------- */

static void help_all(void)
{
	const struct command *c;

	for (size_t i = 0; (c = nth_command(i)) != NULL; i++) {
		char left[32];

		snprintf(left, sizeof(left), "%s %s", c->name, c->args);
		console_printf("  %-18s %s\n", left, c->brief);
	}
	console_printf("Ctrl-] leaves a guest's console; Tab completes; arrows recall lines.\n");
}

static void help_one(const char *name)
{
	const struct command *c = find_command(name);

	if (!c)
		return;
	usage(c);
	console_printf("%s\n", c->brief);
	console_write(c->help, strlen(c->help));
}

static void cmd_help(int argc, char **argv)
{
	if (argc == 0)
		help_all();
	else
		help_one(argv[0]);
}

/* --- guests ----------------------------------------------------------------------------------- */

static void list_one(const struct vm *vm, size_t width)
{
	char line[COLUMNS], size[16], end[VM_END_TEXT + 32];
	int n = snprintf(line, sizeof(line), "%-*s  %-8s %5u %7s  %s", (int)width, vm->conf.name,
			 vm_state_name(vm->state), vm->nr_vcpus,
			 format_size(vm->conf.memory, size, sizeof(size)),
			 vm_end_describe(&vm->last, end, sizeof(end)));

	/* `info` has the whole of a long cause. */
	if ((size_t)n >= sizeof(line))
		memcpy(line + sizeof(line) - 4, "...", 4);
	console_printf("%s\n", line);
}

static void cmd_list(int argc, char **argv)
{
	size_t width = strlen("NAME");

	(void)argc;
	(void)argv;
	if (!vm_first()) {
		console_printf("no guest is defined\n");
		return;
	}
	for (const struct vm *vm = vm_first(); vm; vm = vm_next(vm))
		width = (size_t)max_u64(width, strlen(vm->conf.name));
	console_printf("%-*s  %-8s %5s %7s  %s\n", (int)width, "NAME", "STATE", "VCPUS", "MEMORY",
		       "LAST END");
	for (const struct vm *vm = vm_first(); vm; vm = vm_next(vm))
		list_one(vm, width);
}

/* The counters of one vCPU, largest first. */
static void info_exits(const struct vcpu *v)
{
	bool shown[VCPU_EXIT_COUNTERS] = {false};

	for (;;) {
		unsigned best = VCPU_EXIT_COUNTERS;

		for (unsigned i = 0; i < VCPU_EXIT_COUNTERS; i++)
			if (!shown[i] && v->exits[i] > 0 && arch_vcpu_exit_name(i) &&
			    (best == VCPU_EXIT_COUNTERS || v->exits[i] > v->exits[best]))
				best = i;
		if (best == VCPU_EXIT_COUNTERS)
			return;
		shown[best] = true;
		console_printf("    %-24s %12llu\n", arch_vcpu_exit_name(best),
			       (unsigned long long)v->exits[best]);
	}
}

static const char *vcpu_state_text(const struct vcpu *v)
{
	static const char *const names[] = {
		[VCPU_OFF] = "off",
		[VCPU_RUNNABLE] = "runnable",
		[VCPU_RUNNING] = "running",
		[VCPU_HALTED] = "halted",
	};

	return names[v->state];
}

static void info_vcpu(const struct vm *vm, const struct vcpu *v)
{
	char time[32];

	console_printf("vCPU %u:    %s, CPU %u, ran %s, %llu exits\n", v->id, vcpu_state_text(v),
		       atomic_load32(&v->cpu), format_seconds(v->run_ns, time, sizeof(time)),
		       (unsigned long long)vcpu_exits_total(v));
	info_exits(v);
	if (vm->state == VM_RUNNING) {
		char regs[VM_REPORT_MAX];
		size_t n = arch_vcpu_report(v, regs, sizeof(regs));

		console_write(regs, n < sizeof(regs) ? n : sizeof(regs));
	}
}

static void info_images(const struct guest_conf *conf)
{
	console_printf("kernel:    %s\n", conf->kernel);
	if (conf->initrd[0])
		console_printf("initrd:    %s\n", conf->initrd);
	for (unsigned i = 0; i < conf->nr_modules; i++)
		console_printf("module:    %s %s\n", conf->modules[i].name, conf->modules[i].args);
	console_printf("cmdline:   ");
	console_write(conf->cmdline, strlen(conf->cmdline));
	console_printf("\n");
}

static void cmd_info(int argc, char **argv)
{
	struct vm *vm = find_guest(argv[0]);
	char a[32], b[32], end[VM_END_TEXT + 32];
	bool alive;

	(void)argc;
	if (!vm)
		return;
	alive = vm->state == VM_RUNNING || vm->state == VM_PAUSED;
	console_printf("name:      %s\nstate:     %s", vm->conf.name, vm_state_name(vm->state));
	if (alive)
		console_printf(" for %s", format_seconds(vclock_now(&vm->clock), a, sizeof(a)));
	console_printf("\n");
	info_images(&vm->conf);
	console_printf("memory:    %s", format_size(vm->conf.memory, a, sizeof(a)));
	if (alive)
		console_printf(", %s populated",
			       format_mib(guestmem_populated_pages(&vm->mem), b, sizeof(b)));
	console_printf("\nautostart: %s\n", vm->conf.autostart ? "yes" : "no");
	console_printf("started:   %llu times, reset %llu times\n", (unsigned long long)vm->starts,
		       (unsigned long long)vm->resets);
	console_printf("last end:  %s\n", vm_end_describe(&vm->last, end, sizeof(end)));
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		info_vcpu(vm, vm->vcpus[i]);
	if (vm->report[0])
		console_printf("when it was killed:\n");
	console_write(vm->report, strlen(vm->report));
}

static void cmd_start(int argc, char **argv)
{
	struct vm *vm = find_guest(argv[0]);
	char err[256];

	(void)argc;
	if (!vm)
		return;
	if (vm_start(vm, err, sizeof(err)) == 0)
		console_printf("guest %s: started\n", vm->conf.name);
	else
		console_printf("guest %s: cannot start: %s\n", vm->conf.name, err);
}

static void not_running(const struct vm *vm)
{
	console_printf("guest %s: not running (it is %s)\n", vm->conf.name,
		       vm_state_name(vm->state));
}

static void cmd_console(int argc, char **argv)
{
	struct vm *vm = find_guest(argv[0]);

	(void)argc;
	if (!vm)
		return;
	if (vm->state == VM_RUNNING || vm->state == VM_PAUSED) {
		console_attach(vm);
		return;
	}
	console_replay(vm); /* what it said before it ended is often why somebody asks */
	not_running(vm);
}

static void cmd_shutdown(int argc, char **argv)
{
	struct vm *vm = find_guest(argv[0]);

	(void)argc;
	if (!vm)
		return;
	if (vm->state != VM_RUNNING) {
		not_running(vm);
		return;
	}
	board_power_button(vm);
	console_printf("guest %s: power button pressed\n", vm->conf.name);
}

static void cmd_destroy(int argc, char **argv)
{
	struct vm *vm = find_guest(argv[0]);

	(void)argc;
	if (vm && vm_destroy(vm))
		not_running(vm);
}

static void cmd_reset(int argc, char **argv)
{
	struct vm *vm = find_guest(argv[0]);

	(void)argc;
	if (vm && vm_reset(vm))
		not_running(vm);
}

/* --- the machine ------------------------------------------------------------------------------ */

static void mem_line(const char *what, uint64_t frames)
{
	char mib[32];

	console_printf("%-12s %10llu frames %10s\n", what, (unsigned long long)frames,
		       format_mib(frames, mib, sizeof(mib)));
}

static void cmd_mem(int argc, char **argv)
{
	struct frames_stat s = frames_stat();

	(void)argc;
	(void)argv;
	mem_line("total", s.total);
	mem_line("free", s.free);
	mem_line("reserved", s.reserved);
	mem_line("pending", s.pending);
	mem_line("overhead", s.overhead);
	for (const struct vm *vm = vm_first(); vm; vm = vm_next(vm)) {
		char populated[32], promised[32], size[16];

		if (vm->state != VM_RUNNING && vm->state != VM_PAUSED)
			continue;
		console_printf("guest %s: memory %s, populated %s, still reserved %s\n",
			       vm->conf.name, format_size(vm->conf.memory, size, sizeof(size)),
			       format_mib(guestmem_populated_pages(&vm->mem), populated,
					  sizeof(populated)),
			       format_mib(vm->mem.reserve.pages, promised, sizeof(promised)));
	}
}

static void cpu_line(unsigned i, const struct machine_cpu *cpu)
{
	const struct pcpu *p = cpu->running ? pcpu_get(i) : NULL;
	uint64_t since = p ? atomic_load64(&p->idle_since) : 0;
	char guest[32], idle[32];

	console_printf("%4u  %8u  %-8s", i, cpu->hw_id,
		       cpu->running  ? "running"
		       : cpu->usable ? "not used"
				     : "disabled");
	if (p)
		console_printf("  %10s %10s %6u %8llu %8llu",
			       format_seconds(p->guest_ns, guest, sizeof(guest)),
			       format_seconds(p->idle_ns + (since ? machine_now() - since : 0),
					      idle, sizeof(idle)),
			       atomic_load32(&p->runq.assigned), (unsigned long long)p->switches,
			       (unsigned long long)p->fetched);
	console_printf("\n");
}

static void cmd_cpus(int argc, char **argv)
{
	const struct machine_info *m = machine_info();

	(void)argc;
	(void)argv;
	console_printf("%s, %llu MHz; %s\n", m->cpu_name ? m->cpu_name : "unknown CPU",
		       (unsigned long long)(m->tsc_hz / 1000000), arch_virt_describe());
	console_printf("%4s  %8s  %-8s  %10s %10s %6s %8s %8s\n", "CPU", "HW ID", "STATE",
		       "IN GUESTS", "IDLE", "VCPUS", "SWITCHES", "FETCHED");
	for (unsigned i = 0; i < m->nr_cpus; i++)
		cpu_line(i, &m->cpus[i]);
	if (m->nr_cpus_ignored > 0)
		console_printf("%u more are beyond what Sluice can use\n", m->nr_cpus_ignored);
}

static void tlb_line(unsigned i)
{
	struct tlbi_stat s = tlbi_stat(i);

	console_printf("%4u %10llu %10llu %9llu %7llu %7llu %9llu %7llu %7llu\n", i,
		       (unsigned long long)s.entries, (unsigned long long)s.clean,
		       (unsigned long long)s.flush_tag, (unsigned long long)s.flush_root,
		       (unsigned long long)s.flush_all, (unsigned long long)s.new_tag,
		       (unsigned long long)s.kicks, (unsigned long long)s.coalesced);
}

static void cmd_tlb(int argc, char **argv)
{
	const struct machine_info *m = machine_info();

	(void)argc;
	(void)argv;
	console_printf("%4s %10s %10s %9s %7s %7s %9s %7s %7s\n", "CPU", "ENTRIES", "NO FLUSH",
		       "OF A TAG", "A ROOT", "OF ALL", "NEW TAGS", "KICKS", "SPARED");
	for (unsigned i = 0; i < m->nr_cpus; i++)
		if (m->cpus[i].running)
			tlb_line(i);
	console_printf("%llu frames are dead and wait until nothing can reach them\n",
		       (unsigned long long)reclaim_pending());
}

static void log_one(void *ctx, const char *line, size_t len)
{
	(void)ctx;
	console_write(line, len);
	console_write("\n", 1);
}

static void cmd_log(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	log_replay(log_one, NULL);
}

static void cmd_loglevel(int argc, char **argv)
{
	enum log_level level;

	if (argc == 1) {
		if (!cmdline_loglevel(argv[0], &level)) {
			console_printf("loglevel '%.40s': expected %s\n", argv[0],
				       CMDLINE_LOGLEVELS);
			return;
		}
		log_set_level(level);
	}
	console_printf("loglevel %s\n", cmdline_loglevel_name(log_get_level()));
}

static void cmd_reboot(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	console_printf("rebooting\n");
	console_flush();
	machine_reboot();
}

static void cmd_poweroff(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	console_printf("powering off\n");
	console_flush();
	machine_poweroff();
}

/* --- the table -------------------------------------------------------------------------------- */

static const struct command commands[] = {
	{"help", "[COMMAND]", "what there is, or more about one command", "", 0, 1, false,
	 cmd_help},
	{"list", "", "all guests, a line each",
	 "States: defined (never started), running, paused, stopped, crashed.\n"
	 "LAST END is how the guest ended last time; `info` has it at full length.\n",
	 0, 0, false, cmd_list},
	{"info", "GUEST", "everything about one guest",
	 "State, images, memory, and for each vCPU its exits by cause and its registers;\n"
	 "for a guest that was killed the registers it had then.\n",
	 1, 1, true, cmd_info},
	{"start", "GUEST", "starts a guest that is not running",
	 "Its memory is promised at once and populated as it is touched. The console stays\n"
	 "with the monitor: `console GUEST` attaches.\n",
	 1, 1, true, cmd_start},
	{"console", "GUEST", "attaches to a guest's serial console",
	 "What the guest wrote meanwhile comes first (the newest 16 KiB). Ctrl-] returns.\n"
	 "For a guest that has ended it shows what is left of its output.\n",
	 1, 1, true, cmd_console},
	{"shutdown", "GUEST", "presses the guest's power button",
	 "What the guest makes of it is its own business; `destroy` asks nobody.\n", 1, 1, true,
	 cmd_shutdown},
	{"destroy", "GUEST", "ends a guest at once, as if by pulling the plug", "", 1, 1, true,
	 cmd_destroy},
	{"reset", "GUEST", "resets a guest: empty memory, images loaded again", "", 1, 1, true,
	 cmd_reset},
	{"mem", "", "the machine's memory and who has it",
	 "reserved: promised to guests and not used yet. pending: given back, but a CPU may\n"
	 "still hold a translation to it. overhead: descriptors of frames.\n",
	 0, 0, false, cmd_mem},
	{"cpus", "", "the machine's CPUs", "", 0, 0, false, cmd_cpus},
	{"tlb", "", "flushes of translations, made and spared",
	 "ENTRIES: times a guest was entered; NO FLUSH: with everything cached still good.\n"
	 "OF A TAG, A ROOT, OF ALL: entries that flushed one tag, one root's nested translations\n"
	 "(VMX), everything. NEW TAGS: entries that took an unused tag instead of a flush.\n"
	 "KICKS: CPUs fetched out of a guest to flush; SPARED: those that another kick made\n"
	 "unnecessary.\n",
	 0, 0, false, cmd_tlb},
	{"log", "", "the hypervisor's messages, the newest 16 KiB", "", 0, 0, false, cmd_log},
	{"loglevel", "[LEVEL]", "shows or sets which messages are printed",
	 "LEVEL is " CMDLINE_LOGLEVELS ". `log` has all of them at any time.\n", 0, 1, false,
	 cmd_loglevel},
	{"reboot", "", "reboots the machine, whatever guests are doing", "", 0, 0, false,
	 cmd_reboot},
	{"poweroff", "", "switches the machine off, whatever guests are doing", "", 0, 0, false,
	 cmd_poweroff},
};

static const struct command *nth_command(size_t i)
{
	return i < ARRAY_SIZE(commands) ? &commands[i] : NULL;
}

/* NULL after having said what there is. */
static const struct command *find_command(const char *name)
{
	struct word_list l = {0};

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	console_printf("no command '%.40s'; there are:\n", name);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		list_word(&l, commands[i].name);
	console_printf("\n");
	return NULL;
}

/* --- lines ------------------------------------------------------------------------------------ */

/* Cuts the line into words at blanks; MAX_ARGS + 1 when there are more than that. */
static int split(char *line, char **words)
{
	int n = 0;

	while (*line) {
		if (*line == ' ' || *line == '\t') {
			*line++ = '\0';
			continue;
		}
		if (n == MAX_ARGS)
			return MAX_ARGS + 1;
		words[n++] = line;
		while (*line && *line != ' ' && *line != '\t')
			line++;
	}
	return n;
}

void monitor_execute(char *line)
{
	char *words[MAX_ARGS];
	const struct command *c;
	int n = split(line, words);

	if (n == 0)
		return;
	c = find_command(words[0]);
	if (!c)
		return;
	if (n - 1 < c->min_args || n - 1 > c->max_args) {
		usage(c);
		return;
	}
	sched_step_aside();
	c->run(n - 1, words + 1);
}

/* First word: commands. Second: guests or commands, as the first one takes them. */
static void complete(struct lineedit *le, const char *line, size_t start)
{
	size_t first = 0, len;

	while (line[first] == ' ')
		first++;
	if (first >= start) {
		for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
			lineedit_offer(le, commands[i].name);
		return;
	}
	for (len = 0; line[first + len] && line[first + len] != ' '; len++)
		;
	for (size_t i = first + len; i < start; i++)
		if (line[i] != ' ')
			return; /* a third word: nothing takes one */
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		const struct command *c = &commands[i];

		if (strlen(c->name) != len || strncmp(c->name, line + first, len) != 0)
			continue;
		for (struct vm *vm = vm_first(); vm && c->takes_guest; vm = vm_next(vm))
			lineedit_offer(le, vm->conf.name);
		for (size_t k = 0; k < ARRAY_SIZE(commands) && c->run == cmd_help; k++)
			lineedit_offer(le, commands[k].name);
	}
}

static void execute(void)
{
	char line[LINE_MAX_LEN + 1];

	str_copy(line, sizeof(line), editor.buf);
	monitor_execute(line);
}

void monitor_input(char c)
{
	enum line_event event;

	console_lock();
	event = lineedit_feed(&editor, c);
	executing = event != LINE_MORE; /* under the lock: messages of other CPUs look at it */
	console_unlock();
	if (event == LINE_MORE)
		return;
	if (event == LINE_DONE)
		execute();
	else if (event == LINE_TOO_LONG)
		console_printf("a line of %llu characters; at most %u fit, so it was not executed "
			       "(arrow up recalls what fitted)\n",
			       (unsigned long long)(editor.len + editor.lost), LINE_MAX_LEN);
	console_lock();
	executing = false;
	if (in_front)
		lineedit_begin(&editor);
	console_unlock();
}

void monitor_front(bool front)
{
	if (front == in_front)
		return;
	console_lock();
	in_front = front;
	if (front && !executing)
		lineedit_begin(&editor);
	if (!front)
		monitor_hide();
	console_unlock();
}

bool monitor_executing(void)
{
	return executing;
}

bool monitor_hide(void)
{
	bool shown = editor.shown;

	lineedit_hide(&editor);
	return shown;
}

void monitor_show(void)
{
	if (in_front && !executing)
		lineedit_show(&editor);
}

void monitor_init(void)
{
	in_front = executing = false;
	lineedit_init(&editor, "sluice> ", console_put, complete);
}
