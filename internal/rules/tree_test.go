package rules_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// modulePath is the import path of the root of the module.
const modulePath = "github.com/shoal-ipc/shoal"

// tree is the source of a module: every Go file, whatever its build constraints, so that a rule sees all
// systems, architectures and tags at once.
type tree struct {
	fsys  fs.FS
	fset  *token.FileSet
	files []file
}

// file is one parsed Go file.
type file struct {
	path string // slash-separated, from the root of the module
	dir  string // its directory, which names its package; "." is the root
	test bool   // whether it ends in _test.go
	ast  *ast.File
}

// parseTree parses the module in fsys without what the go command leaves out: testdata, vendor, names that
// begin with a dot or an underscore, and nested modules.
func parseTree(fsys fs.FS) (*tree, error) {
	t := &tree{fsys: fsys, fset: token.NewFileSet()}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() {
			if name == "." {
				return nil
			}
			if base == "testdata" || base == "vendor" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
				return fs.SkipDir
			}
			if _, err := fs.Stat(fsys, path.Join(name, "go.mod")); err == nil {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
			return nil
		}
		src, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(t.fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		t.files = append(t.files, file{name, path.Dir(name), strings.HasSuffix(base, "_test.go"), parsed})
		return nil
	})
	return t, err
}

// packages gives the files that are not tests, by directory.
func (t *tree) packages() map[string][]file {
	byDir := make(map[string][]file)
	for _, f := range t.files {
		if !f.test {
			byDir[f.dir] = append(byDir[f.dir], f)
		}
	}
	return byDir
}

// dirs lists the directories that have a file which is not a test.
func (t *tree) dirs() []string {
	var dirs []string
	for dir := range t.packages() {
		dirs = append(dirs, dir)
	}
	slices.Sort(dirs)
	return dirs
}

// at is a finding at a place in the source.
func (t *tree) at(n ast.Node, format string, args ...any) string {
	p := t.fset.Position(n.Pos())
	return fmt.Sprintf("%s:%d: %s", p.Filename, p.Line, fmt.Sprintf(format, args...))
}

// read gives a file that is not Go source, or "" if there is none.
func (t *tree) read(name string) string {
	b, err := fs.ReadFile(t.fsys, name)
	if err != nil {
		return ""
	}
	return string(b)
}

// importPath is the path that spec names.
func importPath(spec *ast.ImportSpec) string {
	p, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		return spec.Path.Value
	}
	return p
}

// localName is the name by which f calls the package imported as p, or "" if it does not import it. A dot
// import counts as ".", which no identifier is called.
func (f file) localName(p string) string {
	for _, spec := range f.ast.Imports {
		if importPath(spec) != p {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path.Base(p)
	}
	return ""
}
