#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Builds one unit test by hand: tests/build-unit.sh tests/unit/test_NAME.c -> build/unit/test_NAME
set -eu
cd "$(dirname "$0")/.."
for source in "$@"; do
	exec_name=build/unit/$(basename "$source" .c)
	make -s "$exec_name"
	echo "$exec_name"
done
