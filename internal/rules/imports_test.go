package rules_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// lastLibraryLevel is the highest level that programs import; above it stand helpers of tests and programs.
const lastLibraryLevel = 7

// layer gives a package its level. A package imports lower levels only, never its own.
type layer struct {
	level float64 // there is always room for one in between
	pkg   string  // from the root of the module; "x/..." is x and all below it, which may import each other
	does  string
}

// layers is the architecture of the module.
var layers = []layer{
	{0, "internal/sys", "talks to the kernel, and alone does so"},
	{0, "internal/atomics", "orders loads and stores of positions"},
	{0, "internal/layout", "knows how plain data lies in memory"},
	{0, "internal/race", "tells the race detector what it cannot see"},
	{0.5, "internal/sentinel", "names errors for other processes"},
	{0.5, "internal/crashpoint", "names the places at which tests kill a process"},
	{0.7, "internal/parking", "puts goroutines to sleep on words of shared memory"},
	{1, "futex", "waits on a word of shared memory and wakes who waits there"},
	{1, "ring", "moves items through memory that it is given"},
	{1, "internal/inherit", "holds what a parent process handed to this one"},
	{1, "internal/lifetime", "has contexts that another process ends"},
	{2, "internal/robust", "turns an owner word through its states, a dead owner included"},
	{2.5, "internal/permits", "counts permits, names their holders, and sets a flag"},
	{2.5, "internal/rw", "counts readers beside the owner word of a writer"},
	{2.5, "internal/barrier", "holds parties back, and names who is bound to come"},
	{2.5, "internal/condition", "keeps the waiters of a condition"},
	{2, "internal/queued", "knows how a queue lies in memory"},
	{2, "internal/wait", "puts to sleep who finds a ring full or empty"},
	{3, "shm", "maps segments, allocates objects, knows who is alive"},
	{4, "locks", "has the synchronisation objects"},
	{4, "internal/codec", "turns items into bytes and back"},
	{4, "internal/coded", "turns Go numbers into C values and back"},
	{4.5, "internal/guard", "locks values and arrays, by their own lock or a given one"},
	{5, "value", "has single cells"},
	{5, "array", "has arrays of cells"},
	{5, "queue", "has queues that block"},
	{5, "pipe", "has connections"},
	{5, "process", "starts functions as processes"},
	{6, "pool", "has workers that take tasks"},
	{7, "manager", "serves containers to several processes"},
	{7, "comm", "has ranks and collective operations"},
	{8, ".", "is the front page of the documentation"},
	{8, "internal/proctest", "helps tests that need several processes"},
	{8, "internal/rules", "reads the source"},
	{8, "internal/chaos", "tests everything at once"},
	{9, "bench", "measures"},
	{10, "cmd/shoal/...", "is the command line"},
	{9, "examples/...", "are programs to read"},
}

// outside says which modules beyond the standard library a library package may import itself.
var outside = []struct{ module, pkg string }{
	{"golang.org/x/sys", "internal/sys"},
	{"github.com/edsrzf/mmap-go", "shm"},
}

// layerOf finds pkg in the table.
func layerOf(pkg string) (layer, bool) {
	for _, l := range layers {
		family, ok := strings.CutSuffix(l.pkg, "/...")
		if pkg == l.pkg || ok && (pkg == family || strings.HasPrefix(pkg, family+"/")) {
			return l, true
		}
	}
	return layer{}, false
}

// isLibrary reports whether pkg is for programs to import, or is imported by one that is; a package without a
// level counts.
func isLibrary(pkg string) bool {
	l, ok := layerOf(pkg)
	return !ok || l.level <= lastLibraryLevel
}

// inModule cuts the module's path off an import path.
func inModule(p string) (pkg string, ok bool) {
	if p == modulePath {
		return ".", true
	}
	return strings.CutPrefix(p, modulePath+"/")
}

// hasModule reports whether import path p lies in module.
func hasModule(p, module string) bool { return p == module || strings.HasPrefix(p, module+"/") }

// isStandard reports whether p is in the standard library, whose paths begin with an element that has no dot.
func isStandard(p string) bool {
	first, _, _ := strings.Cut(p, "/")
	return !strings.Contains(first, ".")
}

// checkImports holds the direct imports of every file that is not a test against the table of layers. Tests are
// free: they start processes and use tools.
func checkImports(t *tree) (findings []string) {
	for _, dir := range t.dirs() {
		if _, ok := layerOf(dir); !ok {
			findings = append(findings, dir+": unknown package: give it a level in internal/rules/imports_test.go")
		}
	}
	for _, f := range t.files {
		from, ok := layerOf(f.dir)
		if f.test || !ok {
			continue
		}
		for _, spec := range f.ast.Imports {
			p := importPath(spec)
			pkg, own := inModule(p)
			switch {
			case own:
				if reason := upwards(from, pkg); reason != "" {
					findings = append(findings, t.at(spec, "%s (level %v, %s) imports %s: %s",
						f.dir, from.level, from.does, pkg, reason))
				}
			case p == "C" && from.level <= lastLibraryLevel:
				findings = append(findings, t.at(spec, `%s imports "C": the library is built without cgo`, f.dir))
			case !isStandard(p) && from.level <= lastLibraryLevel:
				if reason := foreign(f.dir, p); reason != "" {
					findings = append(findings, t.at(spec, "%s imports %s: %s", f.dir, p, reason))
				}
			}
		}
	}
	return findings
}

// upwards says why a package of layer from may not import pkg, or "".
func upwards(from layer, pkg string) string {
	to, ok := layerOf(pkg)
	switch {
	case !ok:
		return "it has no level in internal/rules/imports_test.go"
	case to == from: // two packages of one family, for a package does not import itself
		return ""
	case to.level == from.level:
		return fmt.Sprintf("both are on level %v, and imports point to a lower one", to.level)
	case to.level > from.level:
		return fmt.Sprintf("that is level %v (%s), and imports point to a lower one", to.level, to.does)
	}
	return ""
}

// foreign says why library package pkg may not import p of another module, or "".
func foreign(pkg, p string) string {
	for _, o := range outside {
		if hasModule(p, o.module) {
			if pkg == o.pkg {
				return ""
			}
			return fmt.Sprintf("only %s may", o.pkg)
		}
	}
	return "library packages use the standard library and few modules: see outside in internal/rules/imports_test.go"
}

// platforms are the systems that must compile; CI vets each of them too.
var platforms = []string{
	"linux/amd64", "linux/arm64", "linux/riscv64", "linux/386", "darwin/arm64", "windows/amd64", "freebsd/amd64",
}

// listed is a package as go list -deps prints it.
type listed struct {
	ImportPath string
	Standard   bool
	Imports    []string
}

// TestDependencies follows the imports of the library packages to their end, on every platform: no module comes
// in through another one unnoticed.
func TestDependencies(t *testing.T) {
	module, err := parseTree(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	var library []string
	for _, dir := range module.dirs() {
		if isLibrary(dir) {
			library = append(library, "./"+dir)
		}
	}
	for _, platform := range platforms {
		t.Run(platform, func(t *testing.T) {
			pkgs, err := list(platform, library)
			if err != nil {
				t.Fatal(err)
			}
			if len(pkgs) < len(library) {
				t.Fatalf("go list printed %d packages for %d", len(pkgs), len(library))
			}
			for _, finding := range checkDependencies(pkgs) {
				t.Error(finding)
			}
		})
	}
}

// list runs go list -deps. A package that does not compile is listed all the same: that is for the compiler to
// report.
func list(platform string, patterns []string) ([]listed, error) {
	goos, goarch, _ := strings.Cut(platform, "/")
	args := []string{"list", "-e", "-deps", "-json=ImportPath,Standard,Imports"}
	cmd := exec.Command("go", append(args, patterns...)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, stderr.String())
	}
	var pkgs []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		pkgs = append(pkgs, p)
	}
}

// checkDependencies reports each package of a module that is not in outside, with who imports it.
func checkDependencies(pkgs []listed) (findings []string) {
	for _, p := range pkgs {
		if p.Standard || hasModule(p.ImportPath, modulePath) {
			continue
		}
		known := false
		for _, o := range outside {
			known = known || hasModule(p.ImportPath, o.module)
		}
		if known {
			continue
		}
		var by []string
		for _, q := range pkgs {
			if slices.Contains(q.Imports, p.ImportPath) {
				by = append(by, q.ImportPath)
			}
		}
		findings = append(findings, fmt.Sprintf(
			"the library depends on %s, imported by %s: it is not in outside",
			p.ImportPath, strings.Join(by, ", ")))
	}
	return findings
}

func TestDependenciesCanFail(t *testing.T) {
	const shm, mmap, windows = modulePath + "/shm", "github.com/edsrzf/mmap-go", "golang.org/x/sys/windows"
	pkgs := []listed{
		{ImportPath: "errors", Standard: true},
		{ImportPath: shm, Imports: []string{"errors", mmap}},
		{ImportPath: mmap, Imports: []string{windows}},
		{ImportPath: windows},
	}
	if findings := checkDependencies(pkgs); len(findings) != 0 {
		t.Errorf("findings %q in a listing without fault", findings)
	}

	pkgs[2].Imports = append(pkgs[2].Imports, "example.com/surprise/inner")
	pkgs = append(pkgs, listed{ImportPath: "example.com/surprise/inner"})
	const want = "depends on example.com/surprise/inner, imported by " + mmap
	if findings := checkDependencies(pkgs); len(findings) != 1 || !strings.Contains(findings[0], want) {
		t.Errorf("findings %q, want one that contains %q", findings, want)
	}
}
