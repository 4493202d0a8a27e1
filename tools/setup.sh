#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Installs the distribution's packages that a make target needs and that are missing.
#
#   tools/setup.sh GROUP...      groups: build iso guest run uefi check test
#
# A thing counts as present when its command or file is there, however it came, so this is quick when
# nothing is missing, and a machine without apt is told what to install instead.
set -eu

# group, command or file that shows it, package, what for
needs() {
	cat <<'END'
build as                                      binutils             assembles and links
build python3                                 python3              runs the build's own tools
build nasm                                    nasm                 assembles the entry code
build iasl                                    acpica-tools         compiles the guests' ACPI tables
iso   grub-mkrescue                           grub-common          makes the ISO
iso   /usr/lib/grub/i386-pc/moddep.lst        grub-pc-bin          GRUB for BIOS
iso   /usr/lib/grub/x86_64-efi/moddep.lst     grub-efi-amd64-bin   GRUB for UEFI
iso   xorriso                                 xorriso              writes the ISO
iso   mformat                                 mtools               makes the ISO's EFI partition
guest /etc/ssl/certs/ca-certificates.crt      ca-certificates      lets apt fetch over https
run   qemu-system-x86_64                      qemu-system-x86      the machine to run on
run   /usr/share/seabios/bios-256k.bin        seabios              BIOS of that machine
uefi  /usr/share/OVMF/OVMF_CODE_4M.fd         ovmf                 UEFI firmware for that machine
check /usr/include/stdio.h                    libc6-dev            builds the unit tests for this host
check clang                                   clang                second compiler, fuzzers
check /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.asan-x86_64.a  libclang-rt-dev  sanitizers and fuzzer of clang
check clang-tidy                              clang-tidy           lint
check clang-format                            clang-format         lint
check cppcheck                                cppcheck             lint
check aarch64-linux-gnu-gcc                   gcc-aarch64-linux-gnu  builds the core for arm64
check /usr/include/Zydis/Zydis.h              libzydis-dev         second opinion on the instruction decoder
bench /usr/include/valgrind/callgrind.h         valgrind             counts the core's instructions
END
}

present() {
	case $1 in
	/*)
		# shellcheck disable=SC2086  # a pattern: any version will do
		set -- $1
		[ -e "$1" ]
		;;
	*) command -v "$1" >/dev/null 2>&1 ;;
	esac
}

missing=$(for group in "$@"; do needs | grep "^$group "; done | sort -u | while read -r _ probe package why; do
	present "$probe" || echo "$package $why"
done)
[ -n "$missing" ] || exit 0

echo "Missing on this machine, from the distribution's packages:"
echo "$missing" | while read -r package why; do printf '  %-22s %s\n' "$package" "$why"; done
packages=$(echo "$missing" | cut -d' ' -f1 | sort -u)

if ! command -v apt-get >/dev/null 2>&1; then
	echo "There is no apt-get here: install these by hand, then run make again." >&2
	exit 1
fi
as_root=
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null 2>&1; then
		echo "Run this as root: apt-get install --no-install-recommends" $packages >&2
		exit 1
	fi
	as_root=sudo
fi

install() {
	# shellcheck disable=SC2086  # words are wanted: one package each
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 \
		install -y --no-install-recommends $packages
}

mkdir -p build
echo "Installing them (log: build/setup.log)"
if install >build/setup.log 2>&1; then
	exit 0
fi
# The package lists may be missing or older than the archive.
if $as_root apt-get -q update >>build/setup.log 2>&1 && install >>build/setup.log 2>&1; then
	exit 0
fi
tail -n 20 build/setup.log >&2
echo "Could not install:" $packages >&2
exit 1
