/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The console's UART: a 16550 or older on I/O ports (National PC16550D data sheet). Its interrupt
 * or poll is the boot CPU's; any CPU may write and read. Received bytes are moved to a ring by the
 * interrupt, or by the timer when the UART has no interrupt we can get.
 */
#ifndef SLUICE_ARCH_X86_UART_H
#define SLUICE_ARCH_X86_UART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UART_NO_IRQ	 0xff
#define UART_POLL_PERIOD 1000000ULL /* ns; 16 bytes at 115200 baud take 1.4 ms */

/*
 * Takes over the UART at `port`: 8n1, FIFOs on, interrupts off. baud 0 leaves the speed as it is;
 * others divide 115200. -ENODEV when nothing like a UART answers; the one in use before stays in
 * use then.
 */
int uart_init(uint16_t port, uint32_t baud);

/* Is there one? Without it writes vanish. */
bool uart_present(void);
uint16_t uart_port(void);

/* Lets it interrupt, or has the timer poll it (time_poll_console). */
void uart_enable_interrupts(void);

/* The interrupt, and what a poll does: moves received bytes, notices an empty transmitter. */
void uart_interrupt(void);

/* See machine_console_*. */
size_t uart_write(const char *s, size_t n);
int uart_read(void);
void uart_want_room(bool on);

/* Waits for the transmitter, bounded. Any CPU, any state: for panics. */
void uart_write_unlocked(const char *s, size_t n);

#endif
