# SPDX-License-Identifier: BSD-2-Clause
#
# Sluice: build, run, test. `make help` says what there is; README.md says it with more words.

ARCH     ?= x86_64
FIRMWARE ?= bios
CPU      ?= max
SMP      ?= 1
MEM      ?= 2G
CMDLINE  ?=
CONF     ?=
DEV      ?=
T        ?=
V        ?=

ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(filter gcc clang,$(CC)),)
$(error CC=$(CC): gcc and clang are what Sluice is built with)
endif
ifneq ($(ARCH),x86_64)
$(error ARCH=$(ARCH) is not there yet: x86_64 only)
endif

MAKEFLAGS += --no-builtin-rules -j$(shell nproc)
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := all
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-7s %s\n' '$1' '$2';)

# --- what is built from which folders -----------------------------------------------------------

# The core is plain C for every architecture and the host; so is vm/, and vm/x86 is a PC as plain C.
CORE_DIRS  := lib mm tlbi stage2
VM_DIRS    := vm vm/dev vm/load vm/x86
LOWER_DIRS := arch/x86 boot boot/x86

core_c  := $(wildcard $(CORE_DIRS:%=%/*.c))
vm_c    := $(wildcard $(VM_DIRS:%=%/*.c))
image_c := $(core_c) $(vm_c) $(wildcard $(LOWER_DIRS:%=%/*.c))
image_asm := $(wildcard $(LOWER_DIRS:%=%/*.asm))
headers := $(wildcard $(addsuffix /*.h,$(CORE_DIRS) $(VM_DIRS) $(LOWER_DIRS) arch))
unit_c  := $(wildcard tests/unit/test_*.c)
fuzz_c  := $(wildcard tests/fuzz/fuzz_*.c)
host_c  := $(wildcard tests/host/*.c)
generated := $(patsubst vm/x86/%.asl,build/gen/%.hex,$(wildcard vm/x86/*.asl))

# --- flags --------------------------------------------------------------------------------------

WARNINGS := -Wall -Wextra -Wconversion -Wmissing-prototypes -Werror
COMMON   := -std=c11 $(WARNINGS) -I. -Ibuild/gen -MMD -MP
FREESTANDING := $(COMMON) -ffreestanding -O2 -g -fno-pic -fno-stack-protector -fno-omit-frame-pointer \
	-fno-common -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables -ffile-prefix-map=$(CURDIR)=.
X86    := $(FREESTANDING) -m64 -march=x86-64 -mcmodel=kernel -mno-red-zone -mgeneral-regs-only -fcf-protection=none
ARM64  := $(FREESTANDING) -mgeneral-regs-only -mno-outline-atomics
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined
HOST   := $(COMMON) -g -O1 -D_GNU_SOURCE -fno-omit-frame-pointer $(SANITIZE)

IMAGE_MAX_KIB := 200

# --- targets ------------------------------------------------------------------------------------

B := build/$(ARCH)

all: $(B)/sluice.elf ## the hypervisor: build/x86_64/sluice.elf

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 16
	@echo "Variables: FIRMWARE=bios|uefi CPU=$(CPU) SMP=n MEM=size CONF=guests-file CMDLINE=words DEV=/dev/sdX T=test V=1"

# What each target needs installed; `setup` runs before anything is compiled.
needs_run   := build iso guest run $(FIRMWARE:bios=)
needs_iso   := build iso guest
needs_flash := build iso guest
needs_check := build check
needs_bench := build check iso run bench
needs_bad   := build
needs_test  := build check iso guest run uefi
setup:
	@sh tools/setup.sh $(filter-out bios,$(or $(foreach g,$(MAKECMDGOALS),$(needs_$g)),build))

.PHONY: all help setup iso run flash check test bad bench clean

# --- compile ------------------------------------------------------------------------------------

# $(call flavour,NAME,COMPILER,FLAGS): objects of one compiler and target, under build/NAME/. A
# freestanding one sees the compiler's own headers (stdint.h ...) only: no C library can slip in.
define flavour
build/$1/%.o: %.c Makefile | setup $(generated)
	@mkdir -p $$(@D)
	$$(call say,CC,$$@)$2 $3 $$(if $$(findstring -ffreestanding,$3),-nostdinc -isystem $$$$($2 -print-file-name=include)) $$(EXTRA) -c -o $$@ $$<
endef

$(eval $(call flavour,x86_64-gcc,gcc,$(X86)))
$(eval $(call flavour,x86_64-clang,clang,$(X86)))
$(eval $(call flavour,arm64-gcc,aarch64-linux-gnu-gcc,$(ARM64)))
$(eval $(call flavour,arm64-clang,clang,--target=aarch64-none-elf $(ARM64)))
$(eval $(call flavour,host-gcc,gcc,$(HOST)))
$(eval $(call flavour,host-clang,clang,$(HOST) -fsanitize=fuzzer-no-link))

# Small where nothing is hot: devices, loaders and the monitor, boot, and of arch/x86 what no exit runs
# through each time.
cold := $(patsubst %.c,%,$(wildcard $(addsuffix /*.c,$(VM_DIRS) boot)) $(filter-out \
	$(addprefix arch/x86/,svm.c vcpu.c exits.c hw_x86.c),$(wildcard arch/x86/*.c)))
$(cold:%=build/x86_64-gcc/%.o): EXTRA = -Os
$(cold:%=build/x86_64-clang/%.o): EXTRA = -Oz

# gcc would turn the loop of memset into a call of memset.
build/x86_64-gcc/lib/string.o build/arm64-gcc/lib/string.o: EXTRA = -fno-tree-loop-distribute-patterns

build/nasm/%.o: %.asm Makefile | setup
	@mkdir -p $(@D)
	$(call say,NASM,$@)nasm -f elf64 -g -F dwarf -Wall -Werror -I./ -MD $(@:.o=.d) -MP -o $@ $<

build/gen/%.hex: vm/x86/%.asl | setup
	@mkdir -p $(@D)
	$(call say,IASL,$@)iasl -we -tc -p build/gen/$* $< >build/gen/$*.log || { cat build/gen/$*.log; exit 1; }

-include $(shell find build -name '*.d' 2>/dev/null)

# --- the hypervisor -----------------------------------------------------------------------------

# sluice.debug has everything, sluice.elf what goes on the ISO: the symbols stay, for back traces.
image_objects = $(image_c:%.c=build/x86_64-$1/%.o) $(image_asm:%.asm=build/nasm/%.o)

define link
build/x86_64-$1/sluice.debug: linker/x86.ld $$(call image_objects,$1)
	$$(call say,LD,$$@)ld -m elf_x86_64 -nostdlib -static --gc-sections -z noexecstack -z max-page-size=4096 \
		--build-id=none --fatal-warnings -T linker/x86.ld -Map build/x86_64-$1/sluice.map \
		-o $$@ $$(filter %.o,$$^)
	@python3 tools/check_image.py $$@ $(IMAGE_MAX_KIB)
endef
$(eval $(call link,gcc))
$(eval $(call link,clang))

$(B)/sluice.debug: build/x86_64-$(CC)/sluice.debug $(B)/compiler
	@cp $< $@
$(B)/sluice.elf: $(B)/sluice.debug
	$(call say,STRIP,$@)objcopy --strip-debug $< $@
$(B)/compiler: FORCE
	@mkdir -p $(@D); echo $(CC) | cmp -s - $@ || echo $(CC) >$@
FORCE:

# --- ISO and QEMU -------------------------------------------------------------------------------

# Kernel and busybox come as signed packages of the distribution.
build/guest/vmlinuz: | setup
	@python3 tools/fetch.py linux-image-cloud-amd64 'boot/vmlinuz-*' $@
build/guest/vmlinuz-standard: | setup
	@python3 tools/fetch.py linux-image-amd64 'boot/vmlinuz-*' $@
build/guest/busybox: | setup
	@python3 tools/fetch.py busybox-static '*bin/busybox' $@
build/guest/initrd.img: build/guest/busybox tools/mkinitramfs.py $(wildcard tools/guest/*)
	$(call say,CPIO,$@)python3 tools/mkinitramfs.py $< tools/guest $@
build/guest/default.conf: tools/default.conf
	@mkdir -p $(@D); cp $< $@

conf := $(or $(CONF),build/guest/default.conf)
# Always made anew: CONF, CMDLINE and the files that the guests file names may have changed.
iso: $(B)/sluice.elf $(if $(CONF),,build/guest/default.conf build/guest/vmlinuz build/guest/initrd.img) ## the ISO: build/x86_64/sluice.iso
	@python3 tools/mkiso.py --elf $(B)/sluice.elf --conf '$(conf)' --cmdline '$(CMDLINE)' --out $(B)/sluice.iso

run: iso ## boots the ISO in QEMU, this terminal is the serial line
	@python3 tools/run.py $(B)/sluice.iso --firmware $(FIRMWARE) --cpu $(CPU) --smp $(SMP) --mem $(MEM)

flash: iso ## writes the ISO to a stick: make flash DEV=/dev/sdX
	@python3 tools/flash.py $(B)/sluice.iso '$(DEV)'

# --- test guests: 32-bit multiboot1 kernels, one source file each --------------------------------

guest_common := build/guests/tests/guests/guest.o build/guests/start.o
guests := $(patsubst tests/guests/%.c,build/guests/%.elf,$(filter-out %/guest.c,$(wildcard tests/guests/*.c)))

$(eval $(call flavour,guests,gcc,$(FREESTANDING) -m32 -march=i686 -mgeneral-regs-only -fcf-protection=none))
build/guests/start.o: tests/guests/start.asm Makefile | setup
	@mkdir -p $(@D)
	$(call say,NASM,$@)nasm -f elf32 -Wall -Werror -MD $(@:.o=.d) -MP -o $@ $<
build/guests/%.elf: build/guests/tests/guests/%.o $(guest_common) tests/guests/guest.ld
	$(call say,LD,$@)ld -m elf_i386 -nostdlib --build-id=none -z noexecstack -T tests/guests/guest.ld -o $@ $(filter %.o,$^)

# --- unit tests and fuzzers ---------------------------------------------------------------------

# A test names the sources that it links in lines "// links: a.c b.c"; tests/host/*.c (fakes of the
# log, the allocator ...) go into an archive, so that a test that links the real thing gets that.
links = $(shell sed -n 's|^// links:||p' $1)
libs  = $(shell sed -n 's|^// libs:||p' $1)

build/%/libhost.a:
	$(call say,AR,$@)rm -f $@ && ar rcs $@ $^
build/host-gcc/libhost.a:   $(host_c:%.c=build/host-gcc/%.o)
build/host-clang/libhost.a: $(host_c:%.c=build/host-clang/%.o)

# $(call program,DIR,NAME,FLAVOUR,COMPILER AND FLAGS)
define program
build/$1/$2: $$(patsubst %.c,build/$3/%.o,tests/$1/$2.c $$(call links,tests/$1/$2.c)) build/$3/libhost.a tests/$1/$2.c
	@mkdir -p $$(@D)
	$$(call say,LD,$$@)$4 $(SANITIZE) -o $$@ $$(filter %.o %.a,$$^) $$(call libs,tests/$1/$2.c)
endef
unit := $(unit_c:tests/%.c=build/%)
fuzz := $(fuzz_c:tests/%.c=build/%)
$(foreach p,$(unit),$(eval $(call program,unit,$(notdir $p),host-gcc,gcc)))
$(foreach p,$(fuzz),$(eval $(call program,fuzz,$(notdir $p),host-clang,clang -fsanitize=fuzzer)))

build/fuzz/seeds: tests/fuzz/seeds.py | setup
	@python3 $< $@ && touch $@

# --- model --------------------------------------------------------------------------------------

# The core against an adversary. No sanitizers: it saves and restores its static data and switches
# stacks; unit tests run the same sources under them. -no-pie: a schedule names addresses.
MODEL := $(COMMON) -g -O2 -D_GNU_SOURCE -fno-omit-frame-pointer -fno-pie
model_c := $(wildcard tests/model/*.c mm/*.c tlbi/*.c stage2/*.c) vm/guestmem.c
model_wrap := frames_alloc frames_try_alloc frames_get frames_put frames_unalloc agents_behind \
	reader_enter reader_exit gather_sync gather_defer
$(eval $(call flavour,model-gcc,gcc,$(MODEL)))
$(eval $(call flavour,model-clang,clang,$(MODEL)))
build/model/model-%: $(foreach c,gcc clang,$(model_c:%.c=build/model-$c/%.o))
	@mkdir -p $(@D)
	$(call say,LD,$@)$* -no-pie $(model_wrap:%=-Wl,--wrap=%) -o $@ $(filter build/model-$*/%.o,$^)
model := build/model/model-gcc

# --- check and test -----------------------------------------------------------------------------

# Everything that must build: the whole image with both compilers, the core for arm64 with both, and
# what is plain C for this host with both.
everything := build/x86_64-gcc/sluice.debug build/x86_64-clang/sluice.debug \
	$(core_c:%.c=build/arm64-gcc/%.o) $(core_c:%.c=build/arm64-clang/%.o) \
	$(patsubst %.c,build/host-gcc/%.o,$(core_c) $(vm_c)) \
	$(patsubst %.c,build/host-clang/%.o,$(core_c) $(vm_c)) \
	$(unit) $(fuzz) $(if $(fuzz),build/fuzz/seeds) $(model) build/model/model-clang
check_args = --lint --unit $(unit) --fuzz $(fuzz) --only '$(T)'

# The mutants of the core are not part of these two yet: tests/bad/README.md says which survive.
BAD ?= --sample 30

check: $(everything) ## lint, unit tests, the model, seconds of fuzzing: what needs no emulator
	@python3 tests/run.py $(check_args) --model '$(model) --short'

test: $(everything) $(B)/sluice.elf $(guests) build/guest/vmlinuz build/guest/vmlinuz-standard build/guest/initrd.img ## all tests; T=part of a name for some
	@python3 tests/run.py $(check_args) --model '$(model) --short' --boot

bad: | setup ## mutants of the core: a sample; BAD='--only TEXT' for some with a line each, BAD= for all
	@python3 tests/bad/run.py $(BAD)

# --- bench --------------------------------------------------------------------------------------

# The core as the hypervisor has it (freestanding: the compiler's atomics), in a program of the host.
BENCH := $(COMMON) -O2 -g -fno-pic -fno-omit-frame-pointer -fno-stack-protector -fcf-protection=none
bench_core := $(filter-out mm/kalloc.c,$(wildcard mm/*.c tlbi/*.c stage2/*.c)) tests/bench/core.c
$(eval $(call flavour,bench,gcc,$(BENCH) -ffreestanding))
build/bench/host.o: tests/bench/host.c Makefile | setup
	@mkdir -p $(@D)
	$(call say,CC,$@)gcc $(BENCH) -D_GNU_SOURCE -c -o $@ $<
build/bench/core: $(bench_core:%.c=build/bench/%.o) build/bench/host.o
	$(call say,LD,$@)gcc -no-pie -o $@ $^

bench: build/bench/core $(B)/sluice.elf build/guests/bench.elf ## what operations and exits cost: a table and build/bench.json
	@python3 tests/bench/run.py $<

clean: ## removes build/, the fetched packages included
	rm -rf build
