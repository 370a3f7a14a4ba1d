// Package image writes container images as archives that containerd imports. An image has one layer, made of files
// of this machine. It neither pulls nor pushes, and runs nothing.
package image

// File is a regular file of an image, with mode 0755.
type File struct {
	// Path is the file's place in the image, without a leading slash.
	Path string
	// Source is the file on this machine that it is a copy of.
	Source string
}

// Link is a symbolic link of an image.
type Link struct {
	// Path is the link's place in the image, without a leading slash.
	Path string
	// Target is what it points to.
	Target string
}

// Image describes an image.
type Image struct {
	// Name is the full name with its tag.
	Name string
	// Entrypoint is what a container runs unless told otherwise.
	Entrypoint []string
	// Env is the default environment.
	Env []string
	// Dirs are empty directories, without a leading slash. The parents of files are added automatically.
	Dirs []string
	// Files and Links are the image's content.
	Files []File
	Links []Link
}
