; SPDX-License-Identifier: BSD-2-Clause
; From the multiboot2 loader's 32-bit hand-over to C in long mode.
;
; The image is linked at IMAGE_BASE and loaded anywhere below 4 GiB, aligned to 2 MiB: up to the jump
; to the linked address nothing here may depend on where it runs, so every address is EBP, the load
; address, plus a distance from IMAGE_BASE. The state at entry is that of Multiboot2 3.3; the rest is
; whatever firmware left (under OVMF CR4 and EFER are not zero, under some BIOSes the caches are off).

IMAGE_BASE	equ 0xffffffff80000000
%define PHYS(label)	(label - IMAGE_BASE)

MAGIC_HEADER	equ 0xe85250d6
MAGIC_LOADER	equ 0x36d76289
OPTIONAL	equ 1

PRESENT		equ 1
WRITABLE	equ 2
LARGE		equ 0x80

CR0_VALUE	equ 0x80010033		; PG WP NE ET MP PE; CD and NW clear
CR4_PAE		equ 1 << 5
MSR_EFER	equ 0xc0000080
EFER_BITS	equ 1 << 8 | 1 << 11	; LME, NXE

COM1		equ 0x3f8

extern boot_main, boot_stacks, image_end

; The end of boot_stacks.main; arch/x86/percpu.c asserts that it is there.
%define boot_stack_top (boot_stacks + 4096 + 16384)

bits 32
section .boot progbits alloc exec nowrite align=8

boot_start:
header:
	dd MAGIC_HEADER, 0, header_end - header, -(MAGIC_HEADER + header_end - header) & 0xffffffff

	; What we like to be told. All of it optional: a loader that has less still starts us.
	align 8
.request:
	dw 1, OPTIONAL
	dd .request_end - .request
	dd 1, 2, 3, 6, 8, 9, 12, 14, 15, 17, 21
.request_end:
	; Modules on page boundaries.
	align 8
	dw 6, 0
	dd 8
	; Relocatable. A fixed address can land on firmware's data. Below 4 GiB, 2 MiB aligned because
	; the early tables map us by large pages; the lowest address will do.
	align 8
	dw 10, 0
	dd 24, 0x200000, 0xffffffff, 0x200000, 1
	align 8
	dw 0, 0
	dd 8
header_end:

; EAX loader magic, EBX information structure. There is no stack: the reserved word of the structure,
; at EBX + 4, takes the one return address that tells where we are.
global entry
entry:
	cli
	cld
	cmp	eax, MAGIC_LOADER
	jne	.stop			; nowhere to write to, nobody to tell
	lea	esp, [ebx + 8]
	call	.here
.here:	pop	ebp
	sub	ebp, .here - boot_start
	lea	esp, [ebp + PHYS(boot_stack_top)]

	lea	esi, [ebp + .no_long_mode - boot_start]
	mov	eax, 0x80000000
	push	ebx
	cpuid
	pop	ebx
	cmp	eax, 0x80000001
	jb	.refuse
	mov	eax, 0x80000001
	push	ebx
	cpuid
	pop	ebx
	bt	edx, 29			; LM
	jnc	.refuse
	lea	esi, [ebp + .no_nx - boot_start]
	bt	edx, 20			; NX
	jnc	.refuse

	call	build_tables
	mov	eax, CR4_PAE
	mov	cr4, eax
	lea	eax, [ebp + PHYS(early_pml4)]
	mov	cr3, eax
	mov	ecx, MSR_EFER
	rdmsr
	or	eax, EFER_BITS
	wrmsr
	mov	eax, CR0_VALUE
	mov	cr0, eax

	lea	eax, [ebp + gdt - boot_start]
	push	eax
	push	word gdt_end - gdt - 1
	lgdt	[esp]
	add	esp, 6
	push	dword 0x08
	lea	eax, [ebp + long_mode - boot_start]
	push	eax
	retf

; ESI: text.
.refuse:
	mov	ecx, 100000		; a port where nothing answers reads as ready
	mov	dx, COM1 + 5
.wait:	in	al, dx
	test	al, 0x20
	loopz	.wait
	lodsb
	test	al, al
	jz	.stop
	mov	dx, COM1
	out	dx, al
	jmp	.refuse
.stop:	cli
	hlt
	jmp	.stop

.no_long_mode:
	db 13, 10, "Sluice: this CPU has no 64-bit mode.", 13, 10, 0
.no_nx:	db 13, 10, "Sluice: this CPU does not offer no-execute pages; "
	db "firmware set-up may have them off.", 13, 10, 0

; The first 4 GiB at 0, where we run, and at the direct map's place; the image where it is linked. All
; of it writable and executable, for the few moments until paging_init() replaces it. .bss came cleared.
build_tables:
	lea	edi, [ebp + PHYS(early_pml4)]
	lea	eax, [ebp + PHYS(early_pdpt) + (PRESENT | WRITABLE)]
	mov	[edi], eax
	mov	[edi + 256 * 8], eax
	lea	eax, [ebp + PHYS(early_pdpt_image) + (PRESENT | WRITABLE)]
	mov	[edi + 511 * 8], eax
	lea	edi, [ebp + PHYS(early_pdpt_image)]
	lea	eax, [ebp + PHYS(early_pd_image) + (PRESENT | WRITABLE)]
	mov	[edi + 510 * 8], eax

	lea	edi, [ebp + PHYS(early_pdpt)]
	lea	eax, [ebp + PHYS(early_pd) + (PRESENT | WRITABLE)]
	mov	ecx, 4
.pdpt:	mov	[edi], eax
	add	edi, 8
	add	eax, 4096
	loop	.pdpt

	lea	edi, [ebp + PHYS(early_pd)]
	mov	eax, PRESENT | WRITABLE | LARGE
	mov	ecx, 4 * 512
.pd:	mov	[edi], eax
	add	edi, 8
	add	eax, 0x200000
	loop	.pd

	lea	edi, [ebp + PHYS(early_pd_image)]
	lea	eax, [ebp + (PRESENT | WRITABLE | LARGE)]
	mov	ecx, PHYS(image_end) + 0x1fffff
	shr	ecx, 21
.image:	mov	[edi], eax
	add	edi, 8
	add	eax, 0x200000
	loop	.image
	ret

bits 64
long_mode:
	mov	eax, 0x10
	mov	ds, eax
	mov	es, eax
	mov	ss, eax
	xor	eax, eax
	mov	fs, eax
	mov	gs, eax
	mov	rax, .high
	jmp	rax
.high:	mov	rsp, boot_stack_top
	mov	edi, ebx		; also clears what long mode leaves undefined above bit 31
	mov	esi, ebp
	xor	ebp, ebp		; the back trace ends here
	call	boot_main
	ud2

	align 8
gdt:	dq 0
	dq 0x00af9b000000ffff		; code, 64 bit, accessed
	dq 0x00cf93000000ffff		; data, accessed
gdt_end:

section .bss nobits alloc noexec write align=4096
early_pml4:	resb 4096
early_pdpt:	resb 4096
early_pdpt_image: resb 4096
early_pd_image:	resb 4096
early_pd:	resb 4 * 4096

section .note.GNU-stack noalloc noexec nowrite progbits
