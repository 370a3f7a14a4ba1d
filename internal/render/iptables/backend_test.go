package iptables_test

import (
	"github.com/netpol-agent/netpol-agent/internal/render/iptables"
	"github.com/netpol-agent/netpol-agent/internal/sync/engine"
)

// The engine can use the renderer as it is.
var _ engine.Backend = (*iptables.Renderer)(nil)
