; SPDX-License-Identifier: BSD-2-Clause
; The ways in from the interrupt descriptor table. Stub n sits at trap_stubs + 16 * n; all of them
; leave a struct trap_frame (arch/x86/traps.h) and call trap_handle(frame) on the stack that the table
; chose. There is no ring 3, so GS is always the hypervisor's.

bits 64
section .text

extern trap_handle

; The CPU pushes an error code for these (SDM 3A table 6-1).
%define HAS_ERROR_CODE(v) ((v) == 8 || ((v) >= 10 && (v) <= 14) || (v) == 17 || (v) == 21 || \
	(v) == 29 || (v) == 30)

align 16
global trap_stubs
trap_stubs:
%assign v 0
%rep 256
	align 16
%if HAS_ERROR_CODE(v) == 0
	push	qword 0
%endif
	push	qword v
	jmp	near trap_common
%assign v v + 1
%endrep

align 16
trap_common:
	cld
	push	rax
	push	rbx
	push	rcx
	push	rdx
	push	rsi
	push	rdi
	push	rbp
	push	r8
	push	r9
	push	r10
	push	r11
	push	r12
	push	r13
	push	r14
	push	r15
	mov	rdi, rsp
	push	qword [rsp + 17 * 8]	; a frame as if the interrupted instruction had called us,
	push	rbp			; for back traces
	mov	rbp, rsp
	call	trap_handle		; 24 words since the CPU aligned the stack: aligned to 16
	add	rsp, 16
	pop	r15
	pop	r14
	pop	r13
	pop	r12
	pop	r11
	pop	r10
	pop	r9
	pop	r8
	pop	rbp
	pop	rdi
	pop	rsi
	pop	rdx
	pop	rcx
	pop	rbx
	pop	rax
	add	rsp, 16
	iretq

section .note.GNU-stack noalloc noexec nowrite progbits
