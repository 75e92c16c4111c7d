# SPDX-License-Identifier: GPL-2.0-or-later
#
# For people.  The builds themselves are meson's; see meson.build, and
# scripts/ for what each target does.

# Everything that is built goes to build/, unless told otherwise.
ifdef VTOE_BUILD
override VTOE_BUILD := $(abspath $(VTOE_BUILD))
export VTOE_BUILD
endif

.PHONY: help setup qemu check demo bench report clean distclean

help:
	@echo 'make setup    install what is missing, fetch QEMU and build it  8 min'
	@echo 'make demo     two guests, the same programs over VTOE and its'
	@echo '              rivals; a table and a picture                    20 min'
	@echo '              QUICK=1: VTOE against no offload, once            3 min'
	@echo 'make check    all tests                                        60 min'
	@echo 'make check-LAYER    one of them:'
	@scripts/check --list | sed 's/^/                    /'
	@echo 'make bench    the stream engine against plain sockets, no guest 2 min'
	@echo '              scripts/bench --instructions: guests, counted    10 min'
	@echo '              scripts/bench --tls: what encryption costs        3 min'
	@echo 'make report   what was promised, and what was measured'
	@echo 'make qemu     build QEMU again after a change                seconds'
	@echo 'make clean    remove what was built, keep what was fetched'
	@echo 'make distclean    remove build/ altogether'
	@echo
	@echo 'Each does its own setup. Times are for 2 cores, from a fresh clone.'
	@echo 'VTOE_BUILD=DIR puts everything that is built into DIR.'

setup qemu:
	@scripts/setup

check: setup
	@scripts/check

check-%: setup
	@scripts/check $*

demo: setup
	@scripts/demo $(if $(filter-out 0,$(QUICK)),--quick)

bench: setup
	@scripts/bench

report:
	@scripts/report

clean:
	@scripts/clean

distclean:
	@scripts/clean --all
