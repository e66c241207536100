# Everything is two commands on a fresh Debian 12, as root: `make demo` and `make test`.
# Each target installs what it needs; what is there already takes no time.

VENV    := .venv
PYTHON  := $(VENV)/bin/python
CONTROLLERS := build/controllers
OBJECT  := src/gossamer/datapath/gossamer.bpf.o
SANDBOX := sh tests/sandbox.sh
TRIPLET := $(shell uname -m)-linux-gnu

.PHONY: demo test lint bench bench-scale bench-ports bench-failover bench-conntrack bench-tunnels bench-kernel-module conformance nightly nightly-oracle nightly-properties nightly-restart nightly-kernel fuzz build clean

demo: build
	@$(VENV)/bin/gossamer demo

# Most tests wait more than they compute: two files at a time, each worker in a sandbox of its own, and
# the short ones last.
test: lint $(CONTROLLERS)/.installed
	@$(PYTHON) -m pytest --tx '2*popen//python=$(SANDBOX) $(PYTHON)' --dist loadfile --no-loadscope-reorder

lint: build
	@$(VENV)/bin/ruff check src tests bench
	@$(VENV)/bin/mypy

bench: build
	@$(VENV)/bin/pip install -q matplotlib
	@$(SANDBOX) $(PYTHON) -m bench

# Tunnels, against the kernel's VXLAN device.
bench-tunnels: build
	@$(VENV)/bin/pip install -q matplotlib 2>&1 | grep -v '^WARNING: Location' || true
	@$(SANDBOX) $(PYTHON) -m bench.tunnels

# Packets, beside the openvswitch module of Debian's own kernel, in an emulated machine.
bench-kernel-module: build
	@$(PYTHON) -m bench.kernel_module --prepare
	@GUEST_CLOCK=instructions GUEST_TIMEOUT=3600 sh tests/guest/run $(PYTHON) -m bench.kernel_module >build/kernel-module.md
	@mv build/kernel-module.md docs/kernel-module.md

# The public OpenFlow 1.3 switch tests, on Open vSwitch and on ours, compared.
conformance: build $(CONTROLLERS)/.installed
	@$(SANDBOX) $(CONTROLLERS)/bin/python -W ignore -m tests.conformance --json build/conformance.json

# A million flows, hundreds of masks.
bench-scale: build
	@$(VENV)/bin/pip install -q matplotlib 2>&1 | grep -v '^WARNING: Location' || true
	@$(SANDBOX) $(PYTHON) -m bench.scale

# One more port in a bridge of many, and who takes that time.
bench-ports: build
	@$(SANDBOX) $(PYTHON) -m bench.ports

# How long packets are lost when a link is, beside Open vSwitch.
bench-failover: build
	@$(SANDBOX) $(PYTHON) -m bench.failover

# New connections and packets of established ones, beside Open vSwitch.
bench-conntrack: build
	@$(VENV)/bin/pip install -q matplotlib 2>&1 | grep -v '^WARNING: Location' || true
	@$(SANDBOX) $(PYTHON) -m bench.conntrack

# The long versions of what `make test` does in short.
nightly: nightly-oracle nightly-properties fuzz nightly-restart nightly-kernel

nightly-oracle: build
	@$(SANDBOX) $(PYTHON) -m tests.property.nightly 100000

# Other cases than those of `make test`, and fifty times as many.
nightly-properties: build
	@GOSSAMER_EXAMPLES=50 $(SANDBOX) $(PYTHON) -m pytest -q tests/property/test_codec.py \
		tests/property/test_headers.py tests/property/test_peer_codec.py tests/property/test_text.py \
		tests/unit/datapath/test_moves.py

fuzz: build
	@$(PYTHON) -m tests.fuzz.openflow_codec 1000000
	@$(SANDBOX) $(PYTHON) -m tests.fuzz.tunnels 1000000

# Code is compiled once, also where Python is told not to write it down: daemons start by the hundreds.
build: $(VENV)/.installed $(OBJECT)
	@$(PYTHON) -m compileall -q src

build/.debian: packaging/apt-packages packaging/install-debian.sh
	@sh packaging/install-debian.sh
	@mkdir -p build && touch $@

$(VENV)/.installed: build/.debian pyproject.toml packaging/constraints.txt
	@echo "Python packages into $(VENV)"
	@test -x $(PYTHON) || python3 -m venv $(VENV)
	@$(PYTHON) -m pip install -q --disable-pip-version-check -c packaging/constraints.txt -e '.[test]' 2>&1 \
		| grep -v '^WARNING: Location' || true
	@$(PYTHON) -c 'import gossamer, ovs, pyroute2, pytest, mypy'
	@touch $@

$(CONTROLLERS)/.installed: build/.debian packaging/controllers.txt
	@echo "Faucet and os-ken into $(CONTROLLERS)"
	@test -x $(CONTROLLERS)/bin/python || python3 -m venv $(CONTROLLERS)
	@$(CONTROLLERS)/bin/python -m pip install -q --disable-pip-version-check --no-deps -r packaging/controllers.txt 2>&1 \
		| grep -v '^WARNING: Location' || true
	@$(CONTROLLERS)/bin/python -W ignore -c 'import faucet, os_ken.tests.switch'
	@touch $@

$(OBJECT): $(wildcard bpf/*.h) bpf/gossamer.c | build/.debian
	@echo "datapath"
	@clang -O2 -g -target bpf -mcpu=v3 -Wall -Werror -Wno-unused-function \
		-I/usr/include/$(TRIPLET) -c bpf/gossamer.c -o $@
	@llvm-strip -g $@ 2>/dev/null || true

clean:
	rm -rf build $(VENV) $(OBJECT) src/*.egg-info .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# 20 times SIGKILL and a new daemon, under floods of packets.
nightly-restart: build
	@GOSSAMER_RESTARTS=20 $(SANDBOX) $(PYTHON) -m pytest -q -rP tests/system/test_restart.py tests/system/test_ct_restart.py

# Debian 12's own kernel, in an emulated machine.
nightly-kernel: build
	@sh tests/guest/nightly.sh
