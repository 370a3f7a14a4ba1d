// Command image writes the agent's container image as an OCI archive, and a list of the image's contents (SPDX) beside
// it. It needs no container engine, no root and no network.
//
// It decides what the image looks like. It neither builds nor fetches programs: it is given one binary for each platform
// and, optionally, a folder of Debian packages. The same binaries, packages, version and time yield the same bytes.
package main
