# Image, chart and plain manifest. Part of the Makefile.

IMAGE   ?= netpol-agent.local/netpol-agent
PLATFORMS := amd64 arm64
# The time of the commit, so that a commit always builds the same image.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
# FLAVOUR=iptables adds the Debian packages whose programs the iptables backend runs.
FLAVOUR ?=
ifneq ($(filter-out iptables,$(FLAVOUR)),)
$(error FLAVOUR=$(FLAVOUR): want iptables or nothing)
endif
IMAGE_OUT := bin/netpol-agent-image$(FLAVOUR:%=-%)
# A version may contain characters that a tag must not.
IMAGE_TAG := $(subst +,-,$(VERSION))$(FLAVOUR:%=-%)
PACKAGES := $(if $(FLAVOUR),$(PLATFORMS:%=bin/image/%/packages))

##@ Package

.PHONY: image
image: $(PACKAGES) ## write bin/netpol-agent-image.tar, an OCI archive for amd64 and arm64, and its SBOM; FLAVOUR=iptables
	@for arch in $(PLATFORMS); do \
	  echo "building for linux/$$arch"; \
	  GOOS=linux GOARCH=$$arch GOAMD64=v1 GOARM64=v8.0 $(GO) build -ldflags '$(LDFLAGS)' \
	    -o bin/image/$$arch/netpol-agent ./cmd/netpol-agent || exit 1; \
	done
	@cd hack/image && $(GO) run . -out $(CURDIR)/$(IMAGE_OUT) -license $(CURDIR)/LICENSE -name $(IMAGE) -version '$(IMAGE_TAG)' \
	  -commit '$(COMMIT)' -created '$(SOURCE_DATE_EPOCH)' \
	  $(foreach arch,$(PLATFORMS),-binary linux/$(arch)=$(CURDIR)/bin/image/$(arch)/netpol-agent) \
	  $(foreach dir,$(PACKAGES),-packages linux/$(word 3,$(subst /, ,$(dir)))=$(CURDIR)/$(dir))

bin/image/%/packages: hack/image/packages.sh
	hack/image/packages.sh $* $@

.PHONY: image-check
image-check: ## build the image again from scratch in another directory and compare the digests (some minutes)
	@hack/image/check.sh

bin/helm: hack/helm/go.mod hack/helm/go.sum
	@mkdir -p bin
	cd hack/helm && cp -f "$$($(GO) tool -n helm)" ../../$@

.PHONY: chart-test
chart-test: bin/helm ## chart: lint, rendered examples, refused values; the plain manifest is current; the image's tests
	$(GO) test -count=1 ./test/chart
	cd hack/image && $(GO) test -count=1 ./...

.PHONY: chart-golden
chart-golden: bin/helm ## rewrite the rendered examples and deploy/netpol-agent.yaml
	$(GO) test -count=1 ./test/chart -update

.PHONY: install-test
install-test: ## install the image and chart in the cluster, upgrade them under traffic, uninstall them (root)
	$(GO) test -count=1 -timeout 20m -v -tags e2e ./test/e2e/install

.PHONY: monitoring-test
monitoring-test: ## check metrics, alerts and dashboard with a real Prometheus in the cluster (root)
	$(GO) test -count=1 -timeout 10m -v -tags e2e -run '^TestMonitoring' ./test/e2e/monitoring
