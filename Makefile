# "make" lists the targets.

SHELL       := /bin/bash
.SHELLFLAGS := -o pipefail -c
GO          ?= go

# Cases of each property test. test-all runs 5,000, nightly 20,000. (RAPID_CHECKS would reach every test that uses
# package rapid.)
PROPERTY_CASES ?= 1000
# Time for each fuzz target.
FUZZTIME ?= 20s

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
CLI     := github.com/netpol-agent/netpol-agent/cmd/netpol-agent/internal/cli
LDFLAGS := -s -w -X $(CLI).Version=$(VERSION) -X $(CLI).Commit=$(COMMIT)

# Everything is built one way, so that it is compiled once: program, image, tests and tools share Go's build cache, and
# so do all checkouts on a machine. Only the race detector needs another build. Version and commit come from above: a
# checkout that git distrusts must build too.
export GOFLAGS := -trimpath -buildvcs=false $(filter-out -trimpath -buildvcs=%,$(GOFLAGS))
export CGO_ENABLED := 0

.DEFAULT_GOAL := help
.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} \
	  /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Build

.PHONY: build
build: ## build bin/netpol-agent
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/netpol-agent ./cmd/netpol-agent

.PHONY: deps
deps: ## install the Debian packages that the tests need (root)
	@hack/deps.sh

.PHONY: clean
clean: ## remove build output and cached test results
	rm -rf bin
	$(GO) clean -testcache -fuzzcache

##@ Try

.PHONY: demo
demo: ## apply every example policy in a real cluster on this machine and probe every pair of pods (root)
	$(GO) run ./test/e2e/cmd/demo

.PHONY: cluster
cluster: ## start a control plane and two nodes with Flannel, and install or upgrade the chart (root)
	$(GO) run ./test/e2e/cmd/deploy

.PHONY: cluster-down
cluster-down: ## stop the cluster and remove every trace of it (root)
	$(GO) run ./test/e2e/cmd/lab down

.PHONY: lab-matrix
lab-matrix: ## start and check a cluster for every IP family, kube-proxy mode and Flannel back end (root)
	$(GO) run ./test/e2e/cmd/lab matrix

##@ Check

.PHONY: test
test: unit ## the same as unit: run it after every change

.PHONY: test-all
test-all: ## every check that a change has to pass, with a table of times; CI runs this (root)
	@hack/test-all.sh change

.PHONY: nightly
nightly: ## checks that take too long for every change: Cyclonus, every kind of cluster, longer runs (root)
	@hack/test-all.sh nightly

.PHONY: lint
lint: bin/golangci-lint ## formatting, go vet, linters, import rules, go.mod
	$(GO) mod tidy -diff
	bin/golangci-lint run ./...
	cd hack/image && ../../bin/golangci-lint run ./...

.PHONY: unit
unit: ## unit tests, with the race detector where there are goroutines
	@hack/unit.sh

# Properties that replay whole histories against a fake kernel, and those of several tiers, get a tenth of the cases.
PROPERTY = cd test/property && ../../bin/property.test -test.timeout 60m
.PHONY: property
property: ## oracle, evaluator and rendered rules agree on random clusters (PROPERTY_CASES=1000)
	$(GO) test ./test/clustergen
	$(GO) test -c -o bin/property.test ./test/property
	$(PROPERTY) -test.run '^TestProperty.*Agree' -rapid.checks=$(PROPERTY_CASES)
	$(PROPERTY) -test.run '^TestProperty' -test.skip 'Agree' -rapid.checks=$$(($(PROPERTY_CASES) / 10))

BACKENDS := nftables iptables-legacy iptables-nft
bin/kernel.test: FORCE
	@$(GO) test -c -o $@ ./test/kernel

.PHONY: kernel
kernel: bin/kernel.test ## load the rules into the kernel and send packets through network namespaces (root)
	$(GO) test -count=1 -timeout 20m -run '^TestKernel' $$(grep -rl --include='*_test.go' '^func TestKernel' cmd internal test | \
	  xargs -n 1 dirname | sort -u | grep -v -x -e test/kernel -e internal/render/nft/kernel | sed 's,^,./,')
	$(GO) test -count=1 -timeout 20m ./internal/render/nft/kernel
	for b in $(BACKENDS); do echo "test/kernel, $$b" && (cd test/kernel && \
	  KERNEL_BACKEND=$$b ../../bin/kernel.test -test.timeout 20m -test.run '^TestKernel' -test.skip '^TestKernelSwap') || exit 1; \
	done

.PHONY: swap
swap: bin/kernel.test ## change policies under traffic: no permitted packet is lost, no forbidden one passes (root)
	@# A run that does not contain this test must fail.
	for b in $(BACKENDS); do \
	  (cd test/kernel && KERNEL_BACKEND=$$b ../../bin/kernel.test -test.timeout 20m -test.v -test.run '^TestKernelSwap') | tee bin/swap.log && \
	  grep '^--- PASS: TestKernelSwapUnder' bin/swap.log >/dev/null || exit 1; \
	done

.PHONY: fuzz
fuzz: ## run every fuzz target (FUZZTIME=20s)
	@FUZZTIME=$(FUZZTIME) hack/fuzz.sh

.PHONY: bench
bench: ## measure times, memory and packet cost, and check their limits (root)
	$(GO) run ./test/bench

.PHONY: bench-against
bench-against: ## compare the figures with those of another commit (BASE=HEAD~1 ROUNDS=3 BENCHFLAGS=-only=events root)
	@BASE='$(BASE)' hack/bench-against.sh $(BENCHFLAGS)

##@ Conformance

# The last three take lists, separated by commas, and run every combination. "go run ./test/e2e/cmd/conformance --help"
# lists all options.
SUITE           ?= upstream
BACKEND         ?= nftables
IP_FAMILY       ?= ipv4
PROXY_MODE      ?= iptables
FLANNEL_BACKEND ?= vxlan
# Runs of the suite on one cluster: the second one finds a used cluster.
RUNS            ?= $(if $(filter upstream,$(SUITE)),2,1)

CONFORMANCE = $(GO) run ./test/e2e/cmd/conformance --suite $(SUITE) --backend $(BACKEND) --runs $(RUNS)

.PHONY: conformance
conformance: ## run a third-party suite, with a report in results/ (SUITE=upstream|cyclonus IP_FAMILY=ipv4|ipv6|dual PROXY_MODE=... root)
	$(CONFORMANCE) --ip-family $(IP_FAMILY) --proxy-mode $(PROXY_MODE) --flannel-backend $(FLANNEL_BACKEND)

.PHONY: conformance-ci
conformance-ci: RUNS = 1
conformance-ci: ## run the upstream suite on a dual-stack cluster (root)
	$(CONFORMANCE) --ip-family dual

.PHONY: conformance-all
conformance-all: RUNS = 1
conformance-all: ## run a suite on every combination of IP family, kube-proxy mode and Flannel back end (SUITE=... root)
	$(CONFORMANCE) --ip-family ipv4,ipv6,dual --proxy-mode iptables,nftables --flannel-backend vxlan,host-gw

include hack/package.mk

##@ Maintain

.PHONY: golden
golden: ## rewrite the golden files; review the diff before you commit it
	$(GO) test ./test/golden -run '^TestGolden' -update
	$(GO) test ./cmd/netpol-agent -run '^TestScripts' -update

.PHONY: docs
docs: ## generate docs/metrics.md from the definitions of the metrics
	$(GO) test ./internal/sync/report -run '^TestMetricsDocumentIsCurrent$$' -update

# "go tool" keeps what it builds in Go's build cache: another checkout takes it from there.
bin/golangci-lint: hack/tools/go.mod hack/tools/go.sum
	@mkdir -p bin
	cd hack/tools && cp -f "$$($(GO) tool -n golangci-lint)" ../../$@

FORCE:
