; SPDX-License-Identifier: BSD-2-Clause
; How another CPU gets from its start-up IPI (real mode, CS = page << 8, IP = 0) to C in long mode.
;
; These bytes are data: arch/x86/smp.c copies them to the page below 1 MiB, fills the words at the end in
; and maps that page, read-only and executable, at its own address while CPUs are being started. Nothing
; here may depend on where it lies: EBX is the page's address, and the three far jumps go through
; pointers that smp.c has relocated.

CR0_PE		equ 1
CR0_VALUE	equ 0x80010033		; PG WP NE ET MP PE; CD and NW, set by INIT, clear
CR4_PAE		equ 1 << 5
MSR_EFER	equ 0xc0000080
EFER_BITS	equ 1 << 8 | 1 << 11	; LME, NXE: our tables have NX bits

%define AT(label) (label - trampoline)

section .rodata progbits alloc noexec nowrite align=16

global trampoline, trampoline_end, trampoline_words
trampoline:
bits 16
	cli
	cld
	mov	ax, cs
	mov	ds, ax
	movzx	ebx, ax
	shl	ebx, 4
	o32 lgdt [AT(gdt_pointer)]
	mov	eax, cr0
	or	eax, CR0_PE
	mov	cr0, eax
	jmp	dword far [AT(to_protected)]

bits 32
protected:
	mov	eax, 0x10
	mov	ds, eax
	mov	es, eax
	mov	ss, eax
	mov	eax, CR4_PAE
	mov	cr4, eax
	mov	eax, [ebx + AT(root)]
	mov	cr3, eax
	mov	ecx, MSR_EFER
	rdmsr
	or	eax, EFER_BITS
	wrmsr
	mov	eax, CR0_VALUE
	mov	cr0, eax
	jmp	far [ebx + AT(to_long)]

bits 64
long_mode:
	mov	ebx, ebx		; bits above 31 are undefined so far
	mov	rsp, [rbx + AT(stack)]
	mov	rdi, [rbx + AT(argument)]
	xor	ebp, ebp		; the back trace ends here
	push	rbp
	jmp	[rbx + AT(start)]

	align 8
gdt:	dq 0
	dq 0x00af9b000000ffff		; 0x08 code, 64 bit, accessed: the CPU writes nothing here
	dq 0x00cf93000000ffff		; 0x10 data, accessed
	dq 0x00cf9b000000ffff		; 0x18 code, 32 bit, accessed
gdt_end:

; Filled in by smp.c: struct trampoline_words, in this order. Offsets in the page until it relocates them.
	align 8
trampoline_words:
to_protected:	dd AT(protected), 0x18
to_long:	dd AT(long_mode), 0x08
		dw 0			; so that the base below is aligned
gdt_pointer:	dw gdt_end - gdt - 1
		dd AT(gdt)
root:		dd 0, 0
stack:		dq 0
argument:	dq 0
start:		dq 0
trampoline_end:

section .note.GNU-stack noalloc noexec nowrite progbits
