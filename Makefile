# `make` alone says what there is to make.
#
# Everything is built for musl, so that a program is one file that runs on any distribution (and starts in a
# fifth of the time): the tests drive that build, not a debug one, and `install` and `dist` hand out the same files.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

TARGET ?= $(shell uname -m)-unknown-linux-musl
DESTDIR ?=
VERSION := $(shell sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
CHANNEL := $(shell sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)

# What goes where.
PLUGINS := bridge veth ptp loopback portmap firewall bandwidth tuning host-local static
TOOLS := netns cnitool
DIST_TARGETS ?= x86_64-unknown-linux-musl aarch64-unknown-linux-musl
OUT := $(or $(CARGO_TARGET_DIR),target)

# Debian packages beyond gcc, make, git and rustup: what the tests witness with, compare with, and boot.
PACKAGES := iproute2 iputils-ping procps iptables nftables jq tcpdump strace e2fsprogs containernetworking-plugins \
            dbus-daemon libglib2.0-bin gir1.2-glib-2.0 python3-dbus python3-gi python3-firewall python3-nftables \
            busybox-static fish zsh mandoc podman crun slirp4netns uidmap containerd runc curl buildah systemd-container g++ \
            $(if $(filter 1,$(JACKFIELD_SKIP_GUEST)),,qemu-system-x86)

CARGO_TEST = cargo test --locked --release --target $(TARGET) --package jackfield --test main
# What tests of switching over need of the Go plugins, for the guest.
GO = $(wildcard /usr/lib/cni/bridge /usr/lib/cni/ptp /usr/lib/cni/host-local)
COUNT = awk '/^test result:/ { passed += $$4; failed += $$6; ignored += $$8 } \
	END { if (NR && passed + failed == 0) printf "%-32s NOT RUN\n", name ":"; \
	else printf "%-32s %4d passed, %d failed, %d ignored\n", name ":", passed, failed, ignored }'

.PHONY: help demo build test lint test-units test-user test-root test-guest test-peer burst reliability fuzz conformance bench install dist clean rust packages

help:
	@echo 'make demo                  two network namespaces get addresses, ping each other, and vanish'
	@echo 'make test                  formatting, lints and all tests (also as root, if you are; and on Linux 6.1 and $(NEWER))'
	@echo 'make test-peer             the same behaviour tests against the Go plugins in /usr/lib/cni'
	@echo 'make burst                 a thousand attachments by 64 workers, among neighbours and a busy stranger (two minutes)'
	@echo 'make reliability           every program killed before each of its system calls, and refused each of them'
	@echo 'make fuzz [SECONDS=300]    bad bytes, led by which code they reach; TARGETS=... for some of what reads them'
	@echo 'make conformance DIR=..    the cases of the CNI specification against any folder of plugins, as a table'
	@echo 'make bench                 side by side with the Go plugins and with the price of the kernel itself'
	@echo 'make install [DESTDIR=..]  plugins to /opt/cni/bin, netns and cnitool to /usr/local/bin'
	@echo 'make dist                  release tarballs with checksums, in dist/'
	@echo 'make clean                 removes target/ and dist/'

demo: build
	@examples/demo.sh $(OUT)/$(TARGET)/release

build: rust
	@cargo build --locked --release --target $(TARGET) --bins

# The tests run the examples too. They are built beside the programs, since each of these takes one processor alone in the end.
.PHONY: build-all
build-all: rust
	@cargo build --locked --release --target $(TARGET) --bins --examples --test main

# --- tests -----------------------------------------------------------------------------------------------------

test: packages lint test-units test-user test-root test-guest
	@echo; echo 'make test: what ran is green'
	@for log in units user root guest guest-newer; do \
		[ ! -e $(OUT)/test-$$log.log ] || $(COUNT) name="  $$(head -n 1 $(OUT)/test-$$log.log)" $(OUT)/test-$$log.log; done

lint: rust
	cargo fmt --all --check
	cargo clippy --locked --release --target $(TARGET) --workspace --all-targets -- -D warnings

# $(call run,LOG NAME,TITLE,COMMAND): the title becomes the first line of the log, for the counts at the end.
run = @mkdir -p $(OUT); echo '$2' > $(OUT)/test-$1.log; echo "== $2"; $3 2>&1 | tee -a $(OUT)/test-$1.log

test-units: rust
	$(call run,units,the libraries on their own,cargo test --locked --target $(TARGET) --workspace --lib --bins)

# Nearly half of the time tests wait for the kernel, so there is one more at once than processors.
test-user test-root: export RUST_TEST_THREADS ?= $(shell expr $$(nproc) + 1)
test-user: build-all packages firewalld
	$(call run,user,in user namespaces,$(CARGO_TEST))

test-root: build-all packages firewalld
	$(call run,root,as real root,if [ "$$(id -u)" = 0 ]; then JACKFIELD_LAB=root $(CARGO_TEST); \
		else echo 'NOT RUN: real root is needed (sudo make test)'; fi)
	@! grep 'skipped ([0-9]*): runtimes::' $(OUT)/test-root.log || { echo 'a runtime was not tested'; exit 1; }

# Inside the older kernel all tests but those of the protocol, of files, of locks, of the command line, and of crashes (a tracer stops at
# every system call, and an emulated machine takes too long for that); inside the newer one those that depend on what a kernel has.
# JACKFIELD_SKIP_GUEST=1 leaves both out, and says so.
GUEST_TEST = CARGO_TARGET_$(shell echo $(TARGET) | tr a-z- A-Z_)_RUNNER="$(CURDIR)/tests/guest/run $(GO:%=--with %)" $(CARGO_TEST)
PROTOCOL_TESTS := bad_bytes:: bad_input:: burst:: capability:: chain:: concurrency:: conf:: conformance:: delegation:: environment:: errors:: examples:: hostile:: input:: \
                  log:: pairs:: result:: status:: tidy:: version:: cnitool:: reliability:: runtimes:: host_local:: pools:: shells:: static:: switching::back:: \
                  privilege::each_ privilege::tools records:: $(addprefix leases::,by_hand crash crowd flat memory policy) firewall::hostile_bus \
                  $(addprefix netns::,advice batch commands delete differences each everywhere exec graph ids list monitor others pictures privileges processes run terminal)
NEWER := 6.12
NEWER_TESTS := bridge:: kernel:: masquerade:: nft:: spoof:: vlan::

test-guest: build-all packages
	$(call run,guest,inside Linux 6.1,$(GUEST_TEST) -- $(PROTOCOL_TESTS:%=--skip %))
	$(call run,guest-newer,inside Linux $(NEWER),\
		if [ -e $(OUT)/guest/$(NEWER)/kernel ] || [ -n "$$(apt-cache pkgnames linux-image-$(NEWER))" ]; then \
		JACKFIELD_GUEST_KERNEL=$(NEWER) $(GUEST_TEST) -- $(NEWER_TESTS); \
		else echo 'NOT RUN: apt offers no Linux $(NEWER)'; fi)

test-peer: build-all packages firewalld
	CNI_REFERENCE=$${CNI_REFERENCE:-/usr/lib/cni} $(CARGO_TEST)

# How many attachments and workers; `make test` has a smaller one (docs/bursts.md).
burst: export JACKFIELD_BURST ?= 1000x64
burst: build-all packages
	$(CARGO_TEST) burst::mixed

# `make test` tries a sample. Most of the time the kernel is waited for, so there are more walks at once than processors.
# WALKS=bridge:: tries some. A walk that finds something says so in its line, and fails.
WALKS ?= reliability::
JOBS ?= 4
reliability: build-all packages
	@mkdir -p $(OUT); rm -f $(OUT)/reliability.log; \
	JACKFIELD_ALOUD=1 JACKFIELD_LONGEST=14400 $(CARGO_TEST) -- --ignored --test-threads=$(JOBS) $(WALKS) 2>&1 \
		| tee $(OUT)/reliability.log || failed=1; \
	echo; echo '| program | verb | system calls | kills | refusals | not made this time | left-overs |'; \
	echo '|---|---|---|---|---|---|---|'; grep '^| ' $(OUT)/reliability.log | sort -u; exit $${failed:-0}

# In `make test` the same targets run over their seeds and a fixed number of changed ones (test-units).
.PHONY: fuzz
SECONDS ?= 300
TARGETS ?=
fuzz: rust packages
	@rustup target add --toolchain $(CHANNEL) $(shell uname -m)-unknown-linux-gnu
	@tests/fuzz/guided/run $(SECONDS) $(TARGETS)

# Without DIR, the programs of this build. Ours, wherever they are, are held to everything; strangers to what is demanded of every
# plugin, and where they answer as the Go plugins are known to, docs/differences.md explains it.
DIR ?=
CASES = $(shell sed -n 's/^| [A-Z]*-[0-9]* |.*| \(`[^|]*`\) |$$/\1/p' docs/conformance.md | tr -d '`,' | tr ' ' '\n' | \
	grep -v '^\(cnitool\|netns\|ipam\)' | sed 's|/.*||' | sort -u)
conformance: build-all packages firewalld
	@mkdir -p $(OUT)
	@if [ -n "$(DIR)" ] && [ ! -x "$(DIR)/bridge" ]; then echo "$(DIR) has no bridge"; exit 1; fi
	@if [ -z "$(DIR)" ]; then whose=; elif grep -q /run/jackfield "$(DIR)/bridge"; then whose='JACKFIELD_BIN=$(DIR)'; \
		else whose='CNI_REFERENCE=$(DIR) JACKFIELD_JUDGE=1'; fi; \
		env $$whose $(CARGO_TEST) -- $(CASES:%=%::) > $(OUT)/conformance.log 2>&1 || true
	@cargo test --quiet --locked --release --target $(TARGET) --test report -- $(OUT)/conformance.log $(or $(DIR),'this build') \
		> $(OUT)/conformance.md; status=$$?; cat $(OUT)/conformance.md; exit $$status

bench: build packages
	cargo bench --locked --target $(TARGET) --bench side_by_side --bench leases --bench chain --bench burst

# --- hand out --------------------------------------------------------------------------------------------------

# A running container may be started this instant: each file appears whole, under its name, by rename.
put = install -m 755 $1/$2 $3/.$2.new && mv -f $3/.$2.new $3/$2 && echo "  $3/$2"

# Manual pages, from what the programs tell of themselves; and what completes command lines, by shell.
.PHONY: pages
pages: build
	@mkdir -p $(OUT)/man
	@day=$$(git log -1 --format=%cs 2>/dev/null || date -u +%F); \
	conf/man/page $(OUT)/$(TARGET)/release/netns $(VERSION) $$day 'ip-netns(8)' 'cnitool(8)' 'network_namespaces(7)' > $(OUT)/man/netns.8; \
	conf/man/page $(OUT)/$(TARGET)/release/cnitool $(VERSION) $$day 'netns(8)' 'ip-netns(8)' > $(OUT)/man/cnitool.8

SHARE = $(DESTDIR)/usr/local/share

install: build pages
	@install -d $(DESTDIR)/opt/cni/bin $(DESTDIR)/usr/local/bin
	@for name in $(PLUGINS); do $(call put,$(OUT)/$(TARGET)/release,$$name,$(DESTDIR)/opt/cni/bin); done
	@for name in $(TOOLS); do $(call put,$(OUT)/$(TARGET)/release,$$name,$(DESTDIR)/usr/local/bin); done
	@for name in $(TOOLS); do \
		install -Dm 644 $(OUT)/man/$$name.8 $(SHARE)/man/man8/$$name.8; \
		install -Dm 644 conf/completions/$$name.bash $(SHARE)/bash-completion/completions/$$name; \
		install -Dm 644 conf/completions/_$$name $(SHARE)/zsh/site-functions/_$$name; \
		install -Dm 644 conf/completions/$$name.fish $(SHARE)/fish/vendor_completions.d/$$name.fish; \
		echo "  $(SHARE): manual page and completions of $$name"; done

dist: pages
	@rm -rf dist; mkdir -p dist
	@for target in $(DIST_TARGETS); do $(MAKE) --no-print-directory dist-one TARGET=$$target; done
	@cd dist && sha256sum *.tar.gz > SHA256SUMS && cat SHA256SUMS

# The same commit gives the same bytes: sorted names, no owners, the time of the commit.
.PHONY: dist-one
dist-one: name = jackfield-$(VERSION)-$(firstword $(subst -, ,$(TARGET)))
dist-one:
	@if ! rustup target list --toolchain $(CHANNEL) --installed | grep -qx $(TARGET) \
		&& ! rustup target add --toolchain $(CHANNEL) $(TARGET); then \
		echo "no tarball for $(TARGET): rustup cannot have that target"; exit 0; fi; \
	cargo build --locked --release --target $(TARGET) --bins; \
	mkdir -p dist/$(name)/bin; \
	cp $(addprefix $(OUT)/$(TARGET)/release/,$(PLUGINS) $(TOOLS)) dist/$(name)/bin; \
	cp -r README.md CHANGELOG.md SECURITY.md LICENSE docs conf examples $(OUT)/man dist/$(name); \
	cp --parents benches/yardstick.c benches/yardstick.strace dist/$(name); \
	(cd dist/$(name)/bin && sha256sum $(PLUGINS) $(TOOLS) > SHA256SUMS); \
	tar -C dist --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$$(git log -1 --format=%ct)" \
		-cf - $(name) | gzip -9n > dist/$(name).tar.gz; \
	rm -rf dist/$(name)

clean:
	rm -rf $(OUT) dist

# --- what must be there ----------------------------------------------------------------------------------------

rust:
	@command -v rustup >/dev/null || { echo 'rustup is missing: see https://rustup.rs'; exit 1; }
	@command -v cc >/dev/null || { echo 'a C linker is missing (for build scripts): apt-get install gcc'; exit 1; }
	@rustup toolchain list | grep -q '^$(CHANNEL)-' || \
		rustup toolchain install $(CHANNEL) --no-self-update --profile minimal --component clippy,rustfmt --target $(TARGET)
	@rustup target list --toolchain $(CHANNEL) --installed | grep -qx $(TARGET) || \
		rustup target add --toolchain $(CHANNEL) $(TARGET)

# firewalld is unpacked and not installed: installed it would start, and change the rules of this machine.
.PHONY: firewalld
firewalld: packages
	@[ ! -e $(OUT)/firewalld/usr/sbin/firewalld ] || exit 0; \
	rm -rf $(OUT)/firewalld.new; mkdir -p $(OUT)/firewalld.new; cd $(OUT)/firewalld.new; \
	if apt-get -q -o APT::Sandbox::User="$$(id -un)" download firewalld && dpkg-deb -x firewalld_*.deb .; then cd - > /dev/null; mv $(OUT)/firewalld.new $(OUT)/firewalld; \
	else echo 'firewalld cannot be had: its tests are skipped'; fi

# The kernel of the guest comes from apt too, so apt must know what there is.
packages:
	@command -v dpkg-query >/dev/null || { echo 'not a Debian: make sure of $(PACKAGES)'; exit 0; }; \
	missing=$$(for p in $(PACKAGES); do \
		dpkg-query -W -f '$${Status}\n' $$p 2>/dev/null | grep -q ' installed$$' || echo $$p; done | xargs); \
	[ -n "$$missing" ] || [ '$(JACKFIELD_SKIP_GUEST)' != 1 -a -z "$$(apt-cache pkgnames linux-image-6.1)" ] || exit 0; \
	if [ "$$(id -u)" != 0 ]; then echo "packages are missing; as root: apt-get update; apt-get install $$missing"; exit 1; fi; \
	apt-get update -q; DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $$missing
