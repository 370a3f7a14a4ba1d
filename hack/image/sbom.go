package main

import (
	"cmp"
	"debug/buildinfo"
	"fmt"
	"io"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"
)

const noAssertion = "NOASSERTION"

// writeSBOM writes the contents of the image: the Go modules that the binaries name as linked into them, the Go release,
// and the Debian packages.
func (s spec) writeSBOM(w io.Writer, digest v1.Hash) error {
	modules, goVersion, err := s.modules()
	if err != nil {
		return err
	}
	img := s.imagePackage(digest)
	doc := &v2_3.Document{
		SPDXVersion:       v2_3.Version,
		DataLicense:       v2_3.DataLicense,
		SPDXIdentifier:    "DOCUMENT",
		DocumentName:      s.Name + ":" + s.Version,
		DocumentNamespace: source + "/sbom/" + s.Version + "/" + digest.Hex,
		CreationInfo: &v2_3.CreationInfo{
			Created:  s.Created.Format(time.RFC3339),
			Creators: []common.Creator{{CreatorType: "Tool", Creator: "netpol-agent-hack-image"}},
		},
		Packages:      []*v2_3.Package{img},
		Relationships: []*v2_3.Relationship{relationship("DOCUMENT", common.TypeRelationshipDescribe, img)},
	}
	add := func(p *v2_3.Package) {
		doc.Packages = append(doc.Packages, p)
		doc.Relationships = append(doc.Relationships, relationship(img.PackageSPDXIdentifier, common.TypeRelationshipContains, p))
	}
	add(goPackage("stdlib", goVersion, ""))
	for _, m := range modules {
		add(goPackage(m.Path, m.Version, m.Sum))
	}
	for _, b := range s.Binaries {
		if b.Packages == "" {
			continue
		}
		packages, err := debianPackages(b.Packages)
		if err != nil {
			return err
		}
		for _, p := range packages {
			add(debianSPDX(b.Platform, p))
		}
	}
	return spdxjson.Write(doc, w, spdxjson.Indent("  "))
}

func relationship(from common.ElementID, kind string, to *v2_3.Package) *v2_3.Relationship {
	return &v2_3.Relationship{
		RefA:         common.DocElementID{ElementRefID: from},
		RefB:         common.DocElementID{ElementRefID: to.PackageSPDXIdentifier},
		Relationship: kind,
	}
}

// modules returns the modules of all binaries, and the Go release that built them.
func (s spec) modules() ([]debug.Module, string, error) {
	seen := map[debug.Module]bool{}
	var all []debug.Module
	goVersion := ""
	for _, b := range s.Binaries {
		info, err := buildinfo.ReadFile(b.Path)
		if err != nil {
			return nil, "", err
		}
		if goVersion != "" && goVersion != info.GoVersion {
			return nil, "", fmt.Errorf("%s: built by %s, but another platform by %s", b.Path, info.GoVersion, goVersion)
		}
		goVersion = info.GoVersion
		for _, m := range info.Deps {
			for m.Replace != nil {
				m = m.Replace
			}
			key := debug.Module{Path: m.Path, Version: m.Version, Sum: m.Sum}
			if !seen[key] {
				seen[key] = true
				all = append(all, key)
			}
		}
	}
	slices.SortFunc(all, func(a, b debug.Module) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Version, b.Version))
	})
	return all, goVersion, nil
}

func (s spec) imagePackage(digest v1.Hash) *v2_3.Package {
	return &v2_3.Package{
		PackageName:             s.Name,
		PackageSPDXIdentifier:   "Image",
		PackageVersion:          s.Version,
		PackageDownloadLocation: noAssertion,
		PackageChecksums:        []common.Checksum{{Algorithm: common.SHA256, Value: digest.Hex}},
		PackageSourceInfo:       source + " at " + s.Commit,
		PackageLicenseConcluded: "Apache-2.0",
		PackageLicenseDeclared:  "Apache-2.0",
		PackageCopyrightText:    noAssertion,
		PrimaryPackagePurpose:   "CONTAINER",
	}
}

// notInID matches what an SPDX identifier must not contain.
var notInID = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// goPackage returns the entry of a Go module. Its license is not looked up: it is in the module's own sources.
func goPackage(path, version, sum string) *v2_3.Package {
	p := &v2_3.Package{
		PackageName:             path,
		PackageSPDXIdentifier:   common.ElementID("Go-" + notInID.ReplaceAllString(path+"-"+version, "-")),
		PackageVersion:          version,
		PackageDownloadLocation: noAssertion,
		PackageLicenseConcluded: noAssertion,
		PackageLicenseDeclared:  noAssertion,
		PackageCopyrightText:    noAssertion,
		PrimaryPackagePurpose:   "LIBRARY",
		PackageExternalReferences: []*v2_3.PackageExternalReference{{
			Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: "pkg:golang/" + path + "@" + version,
		}},
	}
	if sum != "" {
		p.PackageSourceInfo = "go.sum " + sum
	}
	return p
}

// debianSPDX returns the entry of a Debian package in the image of a platform. Its license is in the package's copyright
// file in the image.
func debianSPDX(platform v1.Platform, d debianPackage) *v2_3.Package {
	id := strings.Join([]string{"Debian", platform.Architecture, d.Name, d.Version}, "-")
	return &v2_3.Package{
		PackageName:             d.Name,
		PackageSPDXIdentifier:   common.ElementID(notInID.ReplaceAllString(id, "-")),
		PackageVersion:          d.Version,
		PackageDownloadLocation: noAssertion,
		PackageChecksums:        []common.Checksum{{Algorithm: common.SHA256, Value: d.SHA256}},
		PackageLicenseConcluded: noAssertion,
		PackageLicenseDeclared:  noAssertion,
		PackageCopyrightText:    noAssertion,
		PrimaryPackagePurpose:   "LIBRARY",
		PackageExternalReferences: []*v2_3.PackageExternalReference{{
			Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL,
			Locator: "pkg:deb/debian/" + d.Name + "@" + d.Version + "?arch=" + d.Arch,
		}},
	}
}
