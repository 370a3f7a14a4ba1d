package manifest

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// DefaultMaxBytes is the largest size of a file, in bytes, unless Options set another. It has room for several thousand
// pods.
const DefaultMaxBytes = 64 << 20

// Stdin is the path that means standard input.
const Stdin = "-"

// Options for reading. The zero value is ready to use.
type Options struct {
	// Namespace of objects that name none; "default" if empty.
	Namespace string
	// Stdin is read for the path "-".
	Stdin io.Reader
	// MaxBytes limits the size of a file in bytes; DefaultMaxBytes if 0.
	MaxBytes int64
}

// Load reads files and directories. In a directory and below it, it reads the files named *.yaml, *.yml or *.json, in
// the order of their names, and skips names that start with a dot.
//
// Mistakes in the content are returned as Problems. If a path cannot be read, Load returns only the error.
func Load(paths []string, opts Options) (*Objects, []Problem, error) {
	r := newReader(opts)
	for _, p := range paths {
		files := []string{p}
		if info, err := os.Stat(p); p != Stdin && err == nil && info.IsDir() {
			if files, err = directory(p); err != nil {
				return nil, nil, err
			}
			if len(files) == 0 {
				return nil, nil, fmt.Errorf("%s: no *.yaml, *.yml or *.json file in this directory", p)
			}
		}
		for _, f := range files {
			data, err := r.content(f)
			if err != nil {
				return nil, nil, err
			}
			r.file(f, data)
		}
	}
	objects, problems := r.result()
	return objects, problems, nil
}

// Read reads the content of one file. Problems call the file by name.
func Read(name string, data []byte, opts Options) (*Objects, []Problem) {
	r := newReader(opts)
	r.file(name, data)
	return r.result()
}

// directory returns the manifest files in and below a directory.
func directory(root string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case p == root:
			return nil
		case strings.HasPrefix(d.Name(), "."): // such as the hidden copies in a mounted ConfigMap
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		case d.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(p)):
			return nil
		}
		info, err := os.Stat(p)
		if err != nil {
			return err
		}
		if info.Mode().IsRegular() {
			files = append(files, p)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading directory %s: %w", root, err)
	}
	return files, nil
}

// content returns the content of one file, or of standard input.
func (r *reader) content(name string) ([]byte, error) {
	in := r.opts.Stdin
	if name == Stdin {
		if in == nil {
			return nil, fmt.Errorf("%s: no standard input to read", name)
		}
	} else {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close() //nolint:errcheck // nothing was written
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, r.opts.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if int64(len(data)) > r.opts.MaxBytes {
		return nil, fmt.Errorf("%s: file is larger than %d MiB: split it", name, r.opts.MaxBytes>>20)
	}
	return data, nil
}
