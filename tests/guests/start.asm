; SPDX-License-Identifier: BSD-2-Clause
; Start of every test guest: multiboot1 header (Multiboot Specification 0.6.96), flat segments, a stack,
; exception entries, and attempt(), which survives exceptions.

bits 32

MAGIC	equ 0x1badb002
FLAGS	equ 0x3			; modules page-aligned, memory map wanted
VECTORS	equ 32

section .multiboot
align 4
	dd MAGIC, FLAGS, -(MAGIC + FLAGS)

section .text
global _start
extern guest_main, guest_init, unexpected, finish
_start:
	cli
	cld
	mov esp, stack_top
	mov [boot_magic], eax
	mov [boot_info], ebx
	lgdt [gdt_pointer]
	jmp 0x08:.flat
.flat:
	mov cx, 0x10
	mov ds, cx
	mov es, cx
	mov ss, cx
	mov fs, cx
	mov gs, cx
	call guest_init
	lidt [idt_pointer]
	push dword [boot_info]
	call guest_main
	push eax
	call finish
	ud2

; int attempt(void (*fn)(uint32_t arg), uint32_t arg): calls fn(arg). -1, or the vector of the exception
; that ended it. Not to be nested.
global attempt
attempt:
	push ebp
	push ebx
	push esi
	push edi
	mov [recover], esp
	mov eax, [esp + 20]
	push dword [esp + 24]
	call eax
	add esp, 4
	mov eax, -1
.out:
	mov dword [recover], 0
	pop edi
	pop esi
	pop ebx
	pop ebp
	ret

; What all exceptions come to: error code and vector are on the stack.
exception:
	cmp dword [recover], 0
	je .report
	mov eax, [esp]
	mov ecx, [esp + 4]
	mov [attempt_error], ecx
	mov esp, [recover]
	cld
	mov cx, 0x10
	mov ds, cx
	mov es, cx
	jmp attempt.out
.report:
	call unexpected		; unexpected(vector, error, eip, ...)
	ud2

%assign v 0
%rep VECTORS
vector_%+v:
%if v = 8 || (v >= 10 && v <= 14) || v = 17 || v = 21 || v = 29 || v = 30
	push dword v
%else
	push dword 0
	push dword v
%endif
	jmp exception
%assign v v + 1
%endrep

section .rodata
global vector_table
vector_table:
%assign v 0
%rep VECTORS
	dd vector_%+v
%assign v v + 1
%endrep

gdt_pointer:
	dw 5 * 8 - 1
	dd gdt
global idt_pointer
idt_pointer:
	dw VECTORS * 8 - 1
	dd idt

section .data
align 8
gdt:	dq 0
	dq 0x00cf9b000000ffff	; 0x08 code, ring 0
	dq 0x00cf93000000ffff	; 0x10 data, ring 0
	dq 0x00cffb000000ffff	; 0x18 code, ring 3
	dq 0x00cff3000000ffff	; 0x20 data, ring 3

section .bss
align 16
global idt, boot_magic, attempt_error
idt:	resq VECTORS
boot_magic: resd 1
boot_info: resd 1
recover: resd 1
attempt_error: resd 1
align 16
	resb 16384
stack_top:
