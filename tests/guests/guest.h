/* SPDX-License-Identifier: BSD-2-Clause */
/* The small runtime that every test guest has: 32-bit, no paging, interrupts off, one stack. */
#ifndef SLUICE_TESTS_GUESTS_GUEST_H
#define SLUICE_TESTS_GUESTS_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#define BOOT_MAGIC 0x2badb002u

/* Multiboot Specification 0.6.96, 3.3 */
struct multiboot_info {
	uint32_t flags;
	uint32_t mem_lower, mem_upper;
	uint32_t boot_device;
	uint32_t cmdline;
	uint32_t mods_count, mods_addr;
	uint32_t syms[4];
	uint32_t mmap_length, mmap_addr;
	uint32_t drives_length, drives_addr;
	uint32_t config_table;
	uint32_t boot_loader_name;
};

struct multiboot_module {
	uint32_t start, end, string, reserved;
};

struct multiboot_mmap {
	uint32_t size; /* of the rest */
	uint32_t base_low, base_high, length_low, length_high;
	uint32_t type;
};

extern uint32_t boot_magic, attempt_error;
extern uint64_t idt[32];
extern char image_end[];

/* Each guest has one: what it returns is the status that it exits with. */
uint32_t guest_main(const struct multiboot_info *info);
void guest_init(void);

/* Polled output on COM1. say(): %s, %u, %x (32 bits each), %%. */
void say(const char *fmt, ...);
void uart_init(void);

/* Ends the guest through the debug exit port. */
_Noreturn void finish(uint32_t status);
_Noreturn void unexpected(uint32_t vector, uint32_t error, uint32_t eip);

/* Calls fn(arg): -1, or the vector of the exception that ended it (its error code: attempt_error).
 */
int attempt(void (*fn)(uint32_t arg), uint32_t arg);

/* Vector goes to `handler` (asm or naked code) with this descriptor privilege and code segment. */
void set_gate(unsigned vector, void (*handler)(void), unsigned dpl, uint16_t cs);

static inline void out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline void out16(uint16_t port, uint16_t value)
{
	__asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static inline void out32(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t in8(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint16_t in16(uint16_t port)
{
	uint16_t value;

	__asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint32_t in32(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline volatile uint32_t *mem32(uint32_t address)
{
	return (volatile uint32_t *)address;
}

#endif
