// Package udp stands in for Flannel's UDP back end, the only part of flanneld that needs a C compiler: the
// build puts this file in its place, so that flanneld builds where there is no more than Go. The back end is
// then unknown to flanneld, which says so when a configuration asks for it.
package udp
