package rules_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// checkPackageDocs wants exactly one package comment in each package, so that there is one place to look; in a
// library it begins as godoc expects.
func checkPackageDocs(t *tree) (findings []string) {
	pkgs := t.packages()
	for _, dir := range t.dirs() {
		var with []string
		for _, f := range pkgs[dir] {
			if f.ast.Doc == nil {
				continue
			}
			with = append(with, f.path)
			want := "Package " + f.ast.Name.Name + " "
			if f.ast.Name.Name != "main" && !strings.HasPrefix(f.ast.Doc.Text(), want) {
				findings = append(findings, t.at(f.ast.Doc, "the package comment does not begin with %q", want))
			}
		}
		switch len(with) {
		case 0:
			findings = append(findings, fmt.Sprintf("%s: no package comment", dir))
		case 1:
		default:
			findings = append(findings, fmt.Sprintf("%s: several package comments: %s", dir, strings.Join(with, ", ")))
		}
	}
	return findings
}

// checkExportedDocs wants a comment for every exported name of a library package. One comment may serve several
// declarations that stand below each other without an empty line, if it names each. Of declarations for several
// systems one is enough.
func checkExportedDocs(t *tree) (findings []string) {
	pkgs := t.packages()
	for _, dir := range t.dirs() {
		if !isLibrary(dir) {
			continue
		}
		documented := make(map[string]bool)
		missing := make(map[string]string) // name to finding
		var order []string
		for _, f := range pkgs[dir] {
			if f.ast.Name.Name == "main" {
				continue
			}
			for _, e := range t.exported(f) {
				if e.doc {
					documented[e.name] = true
				} else if missing[e.name] == "" {
					missing[e.name] = t.at(e.node, "%s.%s has no comment", f.ast.Name.Name, e.name)
					order = append(order, e.name)
				}
			}
		}
		for _, name := range order {
			if !documented[name] {
				findings = append(findings, missing[name])
			}
		}
	}
	return findings
}

// export is an exported declaration: "Lock", "Lock.Acquire".
type export struct {
	name string
	node ast.Node
	doc  bool
}

// exported lists f's exported declarations.
func (t *tree) exported(f file) (names []export) {
	line := func(p token.Pos) int { return t.fset.Position(p).Line }
	var shared string // the comment above the run of declarations that we are in
	last := -1        // the line on which the last declaration ended
	for _, d := range f.ast.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			doc := d.Doc.Text()
			switch {
			case doc != "":
				shared = doc
			case line(d.Pos()) != last+1:
				shared = ""
			}
			last = line(d.End())
			name, ok := exportedFunc(d)
			if ok {
				ok = doc != "" || regexp.MustCompile(`\b`+d.Name.Name+`\b`).MatchString(shared)
				names = append(names, export{name, d, ok})
			}
		case *ast.GenDecl:
			last, shared = line(d.End()), d.Doc.Text()
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					if spec.Name.IsExported() {
						doc := d.Doc != nil || spec.Doc != nil || spec.Comment != nil
						names = append(names, export{spec.Name.Name, spec, doc})
					}
				case *ast.ValueSpec:
					for _, id := range spec.Names {
						if id.IsExported() {
							doc := d.Doc != nil || spec.Doc != nil || spec.Comment != nil
							names = append(names, export{id.Name, id, doc})
						}
					}
				}
			}
		}
	}
	return names
}

// exportedFunc names a function or a method that godoc shows.
func exportedFunc(d *ast.FuncDecl) (string, bool) {
	if !d.Name.IsExported() {
		return "", false
	}
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return d.Name.Name, true
	}
	recv := d.Recv.List[0].Type
	for {
		switch x := recv.(type) {
		case *ast.StarExpr:
			recv = x.X
		case *ast.ParenExpr:
			recv = x.X
		case *ast.IndexExpr:
			recv = x.X
		case *ast.IndexListExpr:
			recv = x.X
		case *ast.Ident:
			return x.Name + "." + d.Name.Name, x.IsExported()
		default:
			return "", false
		}
	}
}

var (
	mapRow     = regexp.MustCompile("^\\| *`([^`]+)`")
	codeBlock  = regexp.MustCompile("(?s)```go\n(.*?)```")
	link       = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	ownImport  = regexp.MustCompile(regexp.QuoteMeta(modulePath) + `/([A-Za-z0-9_/-]+)`)
	changelogs = regexp.MustCompile("(?m)^- `([a-z/]+)`:")
)

// documents are the pages that checkDocuments reads, each with links to files of the module.
var documents = []string{"README.md", "CONTRIBUTING.md", "CHANGELOG.md"}

// checkDocuments holds the pages against the tree: README's map of packages names those that exist and all of
// the public ones, its program is one of the examples, links and import paths lead somewhere, and so do
// CHANGELOG's entries.
func checkDocuments(t *tree) (findings []string) {
	exists := t.dirs()
	report := func(page, format string, args ...any) {
		findings = append(findings, page+": "+fmt.Sprintf(format, args...))
	}
	for _, page := range documents {
		text := t.read(page)
		if text == "" {
			report(page, "missing")
		}
		for _, m := range ownImport.FindAllStringSubmatch(text, -1) {
			if pkg := strings.TrimSuffix(m[1], "/"); !slices.Contains(exists, pkg) {
				report(page, "mentions package %s, which does not exist", pkg)
			}
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, _, _ := strings.Cut(m[1], "#")
			if target == "" || strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			if _, err := fs.Stat(t.fsys, path.Clean(target)); err != nil {
				report(page, "links to %s, which does not exist", target)
			}
		}
	}

	mapped := make(map[string]bool)
	for _, line := range strings.Split(section(t.read("README.md"), "## Packages"), "\n") {
		m := mapRow.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		pkg := m[1]
		mapped[pkg] = true
		if !slices.ContainsFunc(exists, func(d string) bool { return d == pkg || strings.HasPrefix(d, pkg+"/") }) {
			report("README.md", "the map of packages has %s, which does not exist", pkg)
		}
	}
	for _, dir := range exists {
		if isLibrary(dir) && !strings.HasPrefix(dir, "internal/") && !mapped[dir] {
			report("README.md", "the map of packages lacks %s", dir)
		}
	}

	for _, m := range codeBlock.FindAllStringSubmatch(t.read("README.md"), -1) {
		if strings.Contains(m[1], "package main") && !t.isExample(m[1]) {
			report("README.md", "its program is none of the examples: copy the file in again")
		}
	}

	for _, m := range changelogs.FindAllStringSubmatch(t.read("CHANGELOG.md"), -1) {
		if !slices.ContainsFunc(exists, func(d string) bool { return d == m[1] || strings.HasPrefix(d, m[1]+"/") }) {
			report("CHANGELOG.md", "has an entry for package %s, which does not exist", m[1])
		}
	}
	return findings
}

// isExample reports whether program is, character for character, a file below examples.
func (t *tree) isExample(program string) bool {
	for _, f := range t.files {
		if strings.HasPrefix(f.path, "examples/") && t.read(f.path) == program {
			return true
		}
	}
	return false
}

// section gives the part of a page below heading, to the next heading of its rank.
func section(page, heading string) string {
	_, rest, ok := strings.Cut(page, "\n"+heading+"\n")
	if !ok {
		return ""
	}
	part, _, _ := strings.Cut(rest, "\n## ")
	return part
}
