// Command image writes the agent's container image as an OCI archive, and beside it a list of what the image is
// made of (SPDX). It needs no container engine, no root and no network.
//
// It decides what the image looks like. It builds no program and fetches none: it is given one binary for each platform
// and, for those who want them beside it, a folder of Debian packages. The same binaries, packages, version and time
// give the same bytes.
package main
