; SPDX-License-Identifier: BSD-2-Clause
; The world switch of SVM: from C into the guest and back at its next exit.
;
;	void svm_enter(uint64_t *gpr, uint64_t vmcb_pa, uint64_t host_pa);
;
; Register roles: rdi gpr, the guest's general registers by encoding number (RAX and RSP are not used: the
; VMCB has them); rsi vmcb_pa; rdx host_pa, this pCPU's VMSAVE area. Called with IF = 0 and GIF = 1.
;
; GIF = 0 around the switch keeps every interrupt away while the segment state is half the guest's
; (APM vol 2, 15.17). IF = 1 at VMRUN because with V_INTR_MASKING it is the host's IF that decides whether
; physical interrupts end the guest (15.21.1): one that arrived since the caller looked is held by GIF and
; exits at once.

bits 64
section .text

global svm_enter
svm_enter:
	push	rbp
	mov	rbp, rsp
	push	rbx
	push	r12
	push	r13
	push	r14
	push	r15
	push	rdx			; [rsp + 8] host_pa
	push	rdi			; [rsp] gpr
	clgi
	sti
	mov	rax, rsi
	mov	rcx, [rdi + 8 * 1]
	mov	rdx, [rdi + 8 * 2]
	mov	rbx, [rdi + 8 * 3]
	mov	rbp, [rdi + 8 * 5]
	mov	rsi, [rdi + 8 * 6]
	mov	r8, [rdi + 8 * 8]
	mov	r9, [rdi + 8 * 9]
	mov	r10, [rdi + 8 * 10]
	mov	r11, [rdi + 8 * 11]
	mov	r12, [rdi + 8 * 12]
	mov	r13, [rdi + 8 * 13]
	mov	r14, [rdi + 8 * 14]
	mov	r15, [rdi + 8 * 15]
	mov	rdi, [rdi + 8 * 7]
	vmload
	vmrun
	vmsave
	mov	rax, [rsp]
	mov	[rax + 8 * 1], rcx
	mov	[rax + 8 * 2], rdx
	mov	[rax + 8 * 3], rbx
	mov	[rax + 8 * 5], rbp
	mov	[rax + 8 * 6], rsi
	mov	[rax + 8 * 7], rdi
	mov	[rax + 8 * 8], r8
	mov	[rax + 8 * 9], r9
	mov	[rax + 8 * 10], r10
	mov	[rax + 8 * 11], r11
	mov	[rax + 8 * 12], r12
	mov	[rax + 8 * 13], r13
	mov	[rax + 8 * 14], r14
	mov	[rax + 8 * 15], r15
	mov	rax, [rsp + 8]
	vmload				; FS, GS, TR, LDTR, SYSCALL and SYSENTER registers are ours again
	cli
	stgi				; an NMI that ended the guest is taken here
	; No guest value stays in a register that C is free to use: nothing to speculate with.
	xor	ecx, ecx
	xor	edx, edx
	xor	esi, esi
	xor	edi, edi
	xor	r8d, r8d
	xor	r9d, r9d
	xor	r10d, r10d
	xor	r11d, r11d
	add	rsp, 16
	pop	r15
	pop	r14
	pop	r13
	pop	r12
	pop	rbx
	pop	rbp
	ret
