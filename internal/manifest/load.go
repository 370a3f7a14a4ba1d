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

// DefaultMaxBytes is the size of the largest file that is read unless Options say otherwise: room for the
// pods of a cluster of several thousand.
const DefaultMaxBytes = 64 << 20

// Stdin is the path that stands for the standard input.
const Stdin = "-"

// Options of reading. The zero value is usable.
type Options struct {
	// Namespace of objects that name none; "default" if empty.
	Namespace string
	// Stdin is what the path "-" reads.
	Stdin io.Reader
	// MaxBytes bounds the size of a file, in bytes; DefaultMaxBytes if 0.
	MaxBytes int64
}

// Load reads files and directories. Of a directory it reads what is named *.yaml, *.yml or *.json, in it and
// in the directories below it, in the order of the names, but nothing whose name starts with a dot.
//
// Mistakes in the content are Problems. The error is for paths that cannot be read; then nothing is given.
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

// Read reads one file's content; name is what problems call the file.
func Read(name string, data []byte, opts Options) (*Objects, []Problem) {
	r := newReader(opts)
	r.file(name, data)
	return r.result()
}

// directory lists the files of a directory that hold manifests.
func directory(root string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case p == root:
			return nil
		case strings.HasPrefix(d.Name(), "."): // the hidden copies of a mounted ConfigMap among them
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

// content reads one file, or the standard input.
func (r *reader) content(name string) ([]byte, error) {
	in := r.opts.Stdin
	if name == Stdin {
		if in == nil {
			return nil, fmt.Errorf("%s: there is no standard input", name)
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
		return nil, fmt.Errorf("%s: larger than %d MiB; split it", name, r.opts.MaxBytes>>20)
	}
	return data, nil
}
