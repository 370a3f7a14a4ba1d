# Image, chart and plain manifest. Part of the Makefile.

IMAGE   ?= netpol-agent.local/netpol-agent
PLATFORMS := amd64 arm64
# The commit's time, so that the same commit gives the same image.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
# What is in the image beside the program: nothing, or with FLAVOUR=iptables the Debian packages that backend runs.
FLAVOUR ?=
ifneq ($(filter-out iptables,$(FLAVOUR)),)
$(error FLAVOUR=$(FLAVOUR): want iptables or nothing)
endif
IMAGE_OUT := bin/netpol-agent-image$(FLAVOUR:%=-%)
# A tag may not contain everything that a version may.
IMAGE_TAG := $(subst +,-,$(VERSION))$(FLAVOUR:%=-%)
PACKAGES := $(if $(FLAVOUR),$(PLATFORMS:%=bin/image/%/packages))

##@ Package

.PHONY: image
image: $(PACKAGES) ## write bin/netpol-agent-image.tar, an OCI archive for amd64 and arm64, and its SBOM; FLAVOUR=iptables
	@for arch in $(PLATFORMS); do \
	  echo "building for linux/$$arch"; \
	  CGO_ENABLED=0 GOOS=linux GOARCH=$$arch GOAMD64=v1 GOARM64=v8.0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' \
	    -o bin/image/$$arch/netpol-agent ./cmd/netpol-agent || exit 1; \
	done
	@cd hack/image && $(GO) run . -out $(CURDIR)/$(IMAGE_OUT) -license $(CURDIR)/LICENSE -name $(IMAGE) -version '$(IMAGE_TAG)' \
	  -commit '$(COMMIT)' -created '$(SOURCE_DATE_EPOCH)' \
	  $(foreach arch,$(PLATFORMS),-binary linux/$(arch)=$(CURDIR)/bin/image/$(arch)/netpol-agent) \
	  $(foreach dir,$(PACKAGES),-packages linux/$(word 3,$(subst /, ,$(dir)))=$(CURDIR)/$(dir))

bin/image/%/packages: hack/image/packages.sh
	hack/image/packages.sh $* $@

.PHONY: image-check
image-check: ## build the image a second time, elsewhere and from nothing, and compare the digests (some minutes)
	@hack/image/check.sh

bin/helm: hack/helm/go.mod hack/helm/go.sum
	cd hack/helm && $(GO) build -o ../../$@ helm.sh/helm/v4/cmd/helm

.PHONY: chart-test
chart-test: bin/helm ## chart: lint, rendered examples, refused values; the plain manifest is current; the image's tests
	$(GO) test -count=1 ./test/chart
	cd hack/image && $(GO) test -count=1 ./...

.PHONY: chart-golden
chart-golden: bin/helm ## write the rendered examples and deploy/netpol-agent.yaml anew
	$(GO) test -count=1 ./test/chart -update

.PHONY: install-test
install-test: ## image and chart in the cluster: install, enforce, upgrade under traffic, uninstall (root)
	$(GO) test -count=1 -timeout 20m -v -tags e2e ./test/e2e/install

.PHONY: monitoring-test
monitoring-test: ## metrics, alerts and dashboard in the cluster, with a real Prometheus (root)
	$(GO) test -count=1 -timeout 10m -v -tags e2e -run '^TestMonitoring' ./test/e2e/monitoring
