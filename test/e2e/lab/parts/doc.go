// Package parts builds the programs a cluster consists of from their Go modules, pinned by the go.mod and
// go.sum files below test/e2e/parts, and keeps them in a cache outside the repository.
//
// A part's folder in the cache carries a stamp of everything that decides its content: module files, programs,
// flags and the Go release. A changed pin changes the stamp and so causes another build. An unchanged one costs
// nothing. The package does not start anything it builds.
package parts

// Program is one executable of a part.
type Program struct {
	// Package is the import path of the main package, or of the package of tests.
	Package string
	// Name is the executable's file name.
	Name string
}

// Part is a module of programs that is built and cached as a whole.
type Part struct {
	// Name is the part's folder, both below test/e2e/parts in the repository and in the cache.
	Name string
	// Module is the module whose release the part is named after, as go.mod requires it.
	Module string
	// Programs are the executables to build.
	Programs []Program
	// Tests are packages of tests, each to be built as an executable.
	Tests []Program `json:",omitempty"`
	// Sources are the files in the part's folder that make up programs of its own.
	Sources []string `json:",omitempty"`
	// Tags are build tags.
	Tags []string
	// VersionVars are the string variables the linker sets to the release of Module.
	VersionVars []string
	// Replace maps files of Module, by their path in it, to files of the part's folder that the build reads in
	// their place; the empty string leaves a file out.
	Replace map[string]string
}
