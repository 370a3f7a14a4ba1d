# The image that "make image" writes without an engine, for those who have one:
#   docker build --build-arg VERSION=$(git describe --tags --always) --build-arg COMMIT=$(git rev-parse HEAD) -t netpol-agent .
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS TARGETARCH VERSION=unknown COMMIT=unknown
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY cmd cmd
COPY internal internal
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X github.com/netpol-agent/netpol-agent/cmd/netpol-agent/internal/cli.Version=$VERSION -X github.com/netpol-agent/netpol-agent/cmd/netpol-agent/internal/cli.Commit=$COMMIT" \
    -o /out/netpol-agent ./cmd/netpol-agent

# For "backend: iptables" or "auto": the same program beside the Debian packages that it runs.
#   docker build --target iptables ...    (without an engine: make image FLAVOUR=iptables)
FROM debian:12-slim AS iptables
RUN apt-get update && apt-get install --yes --no-install-recommends iptables ipset && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/netpol-agent /usr/local/bin/netpol-agent
COPY LICENSE /usr/share/doc/netpol-agent/LICENSE
USER 0:0
WORKDIR /
ENTRYPOINT ["/usr/local/bin/netpol-agent"]
CMD ["run"]

FROM scratch
COPY --from=build /out/netpol-agent /usr/local/bin/netpol-agent
COPY LICENSE /usr/share/doc/netpol-agent/LICENSE
ENV PATH=/usr/local/bin
# Kubernetes gives an added capability (NET_ADMIN) to root alone.
USER 0:0
WORKDIR /
ENTRYPOINT ["/usr/local/bin/netpol-agent"]
CMD ["run"]
