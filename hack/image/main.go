package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// spec describes an image.
type spec struct {
	// Name is the image's full name without tag. Version is its tag.
	Name, Version string
	// Commit is the revision of the source.
	Commit string
	// Created is the time of the image and its SBOM: that of the commit, not of the build.
	Created time.Time
	// License is the path of the program's license, which becomes part of the image.
	License string
	// Binaries are the programs, ordered by platform.
	Binaries []binary
}

// binary is the program for one platform.
type binary struct {
	Platform v1.Platform
	Path     string
	// Packages is a folder of Debian packages to add, or empty.
	Packages string
}

func run(args []string) error {
	s, out, err := parse(args)
	if err != nil {
		return err
	}
	index, err := s.index()
	if err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	archive := out + ".tar"
	if err := create(archive, func(f *os.File) error { return s.writeArchive(f, index) }); err != nil {
		return err
	}
	sbom := out + ".spdx.json"
	if err := create(sbom, func(f *os.File) error { return s.writeSBOM(f, digest) }); err != nil {
		return err
	}
	fmt.Printf("%s:%s\n%s\n%s\n%s\n", s.Name, s.Version, digest, archive, sbom)
	return nil
}

func parse(args []string) (s spec, out string, err error) {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	var created string
	flags.StringVar(&out, "out", "", "path of the files to write, without .tar and .spdx.json")
	flags.StringVar(&s.Name, "name", "", "full name of the image, without tag")
	flags.StringVar(&s.Version, "version", "", "version of the program, and the image's tag")
	flags.StringVar(&s.Commit, "commit", "", "revision of the source")
	flags.StringVar(&s.License, "license", "LICENSE", "file with the license")
	flags.StringVar(&created, "created", "", "Unix time of the image")
	flags.Func("binary", "OS/ARCH=PATH of the program for a platform; may be repeated", func(v string) error {
		platform, path, ok := strings.Cut(v, "=")
		if !ok {
			return fmt.Errorf("%q is not OS/ARCH=PATH", v)
		}
		p, err := v1.ParsePlatform(platform)
		if err != nil {
			return err
		}
		s.Binaries = append(s.Binaries, binary{Platform: *p, Path: path})
		return nil
	})
	flags.Func("packages", "OS/ARCH=FOLDER of the Debian packages for a platform; give it after the -binary of the platform", func(v string) error {
		platform, path, _ := strings.Cut(v, "=")
		for i := range s.Binaries {
			if b := &s.Binaries[i]; b.Platform.String() == platform && path != "" {
				b.Packages = path
				return nil
			}
		}
		return fmt.Errorf("%q is not OS/ARCH=FOLDER of a platform with a -binary before it", v)
	})
	if err := flags.Parse(args); err != nil {
		return s, "", err
	}
	for name, v := range map[string]string{"out": out, "name": s.Name, "version": s.Version, "commit": s.Commit} {
		if v == "" {
			return s, "", fmt.Errorf("-%s is missing", name)
		}
	}
	if len(s.Binaries) == 0 {
		return s, "", errors.New("-binary is missing")
	}
	seconds, err := strconv.ParseInt(created, 10, 64)
	if err != nil {
		return s, "", fmt.Errorf("-created: %w", err)
	}
	s.Created = time.Unix(seconds, 0).UTC()
	slices.SortFunc(s.Binaries, func(a, b binary) int { return cmp.Compare(a.Platform.String(), b.Platform.String()) })
	return s, out, nil
}

// create writes a file completely or not at all.
func create(path string, write func(*os.File) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it no longer exists after success
	err = write(f)
	if e := f.Chmod(0o644); err == nil {
		err = e
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}
