/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The way in from boot/: once the machine is up, boot hands over what the loader brought and the
 * monitor and the guests take it from there.
 */
#ifndef SLUICE_VM_INIT_H
#define SLUICE_VM_INIT_H

#include <stddef.h>

/* A boot module, in hypervisor-virtual memory that nobody changes or frees. */
struct vm_module {
	const char *name; /* first word of the module string; never NULL */
	const void *data;
	size_t size; /* bytes */
};

/* Borrowed for the life of the machine. */
struct vm_boot {
	const char *cmdline; /* the hypervisor's own, without the program's name; NULL as "" */
	const struct vm_module *modules;
	size_t nr_modules;
};

/*
 * Runs the hypervisor: called once by the boot CPU, interrupts off, with frames, kzalloc, direct
 * map, console UART and timer up.
 */
_Noreturn void vm_main(const struct vm_boot *boot);

/* The boot module of that name, or NULL. */
const struct vm_module *vm_module_find(const char *name);

#endif
