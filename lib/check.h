/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CHECK is for a broken hypervisor: a condition that no input can make false. Whatever input can
 * cause is returned as an error instead.
 */
#ifndef SLUICE_LIB_CHECK_H
#define SLUICE_LIB_CHECK_H

/* Reports text, registers and back trace on the console and stops the machine. Provided by arch/.
 */
_Noreturn __attribute__((format(printf, 1, 2))) void panic(const char *fmt, ...);

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (__builtin_expect(!(cond), 0))                                                  \
			panic("%s:%d: CHECK(%s) failed", __FILE__, __LINE__, #cond);               \
	} while (0)

#endif
