# "make" lists the targets.

SHELL       := /bin/bash
.SHELLFLAGS := -o pipefail -c
GO          ?= go

# Cases of each property test; CI runs 20,000. (RAPID_CHECKS would reach every test that uses package rapid.)
PROPERTY_CASES ?= 1000
# Time for each fuzz target.
FUZZTIME ?= 20s

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
CLI     := github.com/netpol-agent/netpol-agent/cmd/netpol-agent/internal/cli
LDFLAGS := -s -w -X $(CLI).Version=$(VERSION) -X $(CLI).Commit=$(COMMIT)

# Version and commit come from above: a checkout that git distrusts must build too.
export GOFLAGS := -buildvcs=false $(filter-out -buildvcs=%,$(GOFLAGS))

.DEFAULT_GOAL := help
.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} \
	  /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Build

.PHONY: build
build: ## build bin/netpol-agent
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/netpol-agent ./cmd/netpol-agent

.PHONY: deps
deps: ## install the Debian packages that the tests need, if any is missing (root)
	@hack/deps.sh

.PHONY: clean
clean: ## remove what was built and what tests left
	rm -rf bin
	$(GO) clean -testcache -fuzzcache

##@ Try

.PHONY: demo
demo: ## policies and packets in a real cluster on this machine: expected against observed (root)
	$(GO) run ./test/e2e/cmd/demo

.PHONY: cluster
cluster: ## a control plane and two nodes with Flannel, the agent installed by its chart; if up, upgrade it (root)
	$(GO) run ./test/e2e/cmd/deploy

.PHONY: cluster-down
cluster-down: ## end the cluster and leave nothing behind (root)
	$(GO) run ./test/e2e/cmd/lab down

.PHONY: lab-matrix
lab-matrix: ## start and check a cluster of every IP family, kube-proxy mode and Flannel back end (root)
	$(GO) run ./test/e2e/cmd/lab matrix

##@ Check

.PHONY: test
test: unit ## what to run after every change; the same as unit

.PHONY: test-all
test-all: ## everything that CI runs: the targets below one after the other, with times (root)
	@hack/test-all.sh

.PHONY: lint
lint: bin/golangci-lint ## formatting, go vet, linters, import rules
	bin/golangci-lint run ./...
	cd hack/image && ../../bin/golangci-lint run ./...

.PHONY: unit
unit: ## unit tests with the race detector
	$(GO) test -race -skip '^(TestKernel|TestProperty)' $$($(GO) list ./... | grep -v -e /test/chart -e /clustergen)
	@# It has no goroutine, and the detector makes it four times as slow.
	$(GO) test ./test/clustergen

# Properties that replay whole histories against a fake kernel, and those of several tiers, get a tenth of the cases.
.PHONY: property
property: ## oracle, evaluator and rendered rules agree on random clusters (PROPERTY_CASES=1000)
	$(GO) test -count=1 -timeout 30m -run '^TestProperty.*Agree' ./test/property -args -rapid.checks=$(PROPERTY_CASES)
	$(GO) test -count=1 -timeout 30m -run '^TestProperty' -skip 'Agree' ./test/property -args -rapid.checks=$$(($(PROPERTY_CASES) / 10))

.PHONY: kernel
kernel: ## rules in a real kernel, packets in network namespaces (root)
	$(GO) test -count=1 -timeout 20m -run '^TestKernel' -skip '^TestKernelSwap' ./...
	$(GO) test -count=1 -timeout 20m ./internal/render/nft/kernel
	KERNEL_BACKEND=iptables-legacy $(GO) test -count=1 -timeout 20m -run '^TestKernel' -skip '^TestKernelSwap' ./test/kernel
	KERNEL_BACKEND=iptables-nft $(GO) test -count=1 -timeout 20m -run '^TestKernel' -skip '^TestKernelSwap' ./test/kernel

.PHONY: swap
swap: ## thousands of policy changes under traffic: nothing permitted lost, nothing forbidden through (root)
	@# A run without this test must not pass for a good one.
	@mkdir -p bin
	for b in nftables iptables-legacy iptables-nft; do \
	  KERNEL_BACKEND=$$b $(GO) test -count=1 -timeout 20m -v -run '^TestKernelSwap' ./test/kernel/... | tee bin/swap.log && \
	  grep '^--- PASS: TestKernelSwapUnder' bin/swap.log >/dev/null || exit 1; \
	done

.PHONY: fuzz
fuzz: ## every fuzz target for a while (FUZZTIME=20s)
	@FUZZTIME=$(FUZZTIME) hack/fuzz.sh

.PHONY: bench
bench: ## hold times, memory and packet cost against their limits (root)
	$(GO) run ./test/bench

##@ Conformance

# What to run on what; lists, with commas, of the last three run every combination.
# "go run ./test/e2e/cmd/conformance --help" lists the rest.
SUITE           ?= upstream
BACKEND         ?= nftables
IP_FAMILY       ?= ipv4
PROXY_MODE      ?= iptables
FLANNEL_BACKEND ?= vxlan
# Runs of the suite on one cluster: the second meets a used one.
RUNS            ?= $(if $(filter upstream,$(SUITE)),2,1)

CONFORMANCE = $(GO) run ./test/e2e/cmd/conformance --suite $(SUITE) --backend $(BACKEND) --runs $(RUNS)

.PHONY: conformance
conformance: ## a suite of others, report in results/ (SUITE=upstream|cyclonus IP_FAMILY=ipv4|ipv6|dual PROXY_MODE=... root)
	$(CONFORMANCE) --ip-family $(IP_FAMILY) --proxy-mode $(PROXY_MODE) --flannel-backend $(FLANNEL_BACKEND)

.PHONY: conformance-ci
conformance-ci: RUNS = 1
conformance-ci: ## the upstream suite on the default cluster and on a dual-stack one (root)
	$(CONFORMANCE) --ip-family ipv4,dual

.PHONY: conformance-all
conformance-all: RUNS = 1
conformance-all: ## the suite on every combination of IP family, kube-proxy's mode and Flannel's back end (SUITE=... root)
	$(CONFORMANCE) --ip-family ipv4,ipv6,dual --proxy-mode iptables,nftables --flannel-backend vxlan,host-gw

include hack/package.mk

##@ Maintain

.PHONY: golden
golden: ## write the golden files anew; read the difference before committing it
	$(GO) test ./test/golden -run '^TestGolden' -update
	$(GO) test ./cmd/netpol-agent -run '^TestScripts' -update

.PHONY: docs
docs: ## write docs/metrics.md anew from the metrics' definitions
	$(GO) test ./internal/sync -run '^TestMetricsDocumentIsCurrent$$' -update

bin/golangci-lint: hack/tools/go.mod hack/tools/go.sum
	cd hack/tools && $(GO) build -o ../../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
