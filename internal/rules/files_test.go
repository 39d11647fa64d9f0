package rules_test

import (
	"fmt"
	"go/ast"
	"path"
	"regexp"
	"strings"
)

// checkUnsafeNames wants a file that imports unsafe to say so by its name, so that a listing shows what to
// audit.
func checkUnsafeNames(t *tree) (findings []string) {
	for _, f := range t.files {
		for _, spec := range f.ast.Imports {
			if importPath(spec) == "unsafe" && !unsafeName(path.Base(f.path)) {
				findings = append(findings, t.at(spec,
					"imports unsafe: call the file x_unsafe.go, x_unsafe_GOOS.go or x_unsafe_test.go"))
			}
		}
	}
	return findings
}

// systems are the words that may follow _unsafe: build constraints by name, and the rest of such a family.
var systems = strings.Fields(`linux darwin windows freebsd unix other
	amd64 arm64 386 arm riscv64 loong64 ppc64le s390x`)

// unsafeName reports whether base has the form x_unsafe.go, with system names and _test after it.
func unsafeName(base string) bool {
	base = strings.TrimSuffix(strings.TrimSuffix(base, ".go"), "_test")
	for {
		if strings.HasSuffix(base, "_unsafe") {
			return true
		}
		cut := false
		for _, s := range systems {
			if rest, ok := strings.CutSuffix(base, "_"+s); ok {
				base, cut = rest, true
				break
			}
		}
		if !cut {
			return false
		}
	}
}

var rawSyscall = regexp.MustCompile(`^(Raw|AllThreads)?Syscall(6|9|12|15|18|N)?$`)

// checkSyscalls wants what talks to the kernel directly in internal/sys, tests included: there it is probed
// once, wrapped once, and given a fallback for other systems. The types of package syscall, its constants and
// its portable calls may be used anywhere.
func checkSyscalls(t *tree) (findings []string) {
	for _, f := range t.files {
		if f.dir == "internal/sys" {
			continue
		}
		for _, spec := range f.ast.Imports {
			p := importPath(spec)
			if hasModule(p, "golang.org/x/sys") {
				findings = append(findings, t.at(spec, "imports %s: only internal/sys may", p))
			}
			if p == "syscall" && spec.Name != nil && spec.Name.Name == "." {
				findings = append(findings, t.at(spec, "a dot import of syscall hides what calls the kernel"))
			}
		}
		name := f.localName("syscall")
		if name == "" || name == "." || name == "_" {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == name && rawSyscall.MatchString(sel.Sel.Name) {
					findings = append(findings, t.at(sel, "uses syscall.%s: only internal/sys may", sel.Sel.Name))
				}
			}
			return true
		})
	}
	return findings
}

// checkReplace wants a module that means the same to those who depend on it: a replace holds only here.
func checkReplace(t *tree) (findings []string) {
	for _, name := range []string{"go.mod", "tools.mod"} {
		for i, line := range strings.Split(t.read(name), "\n") {
			words := strings.Fields(line)
			if len(words) > 0 && (words[0] == "replace" || strings.HasPrefix(words[0], "replace(")) {
				findings = append(findings, fmt.Sprintf("%s:%d: replace directive: dependents would not see it", name, i+1))
			}
		}
	}
	return findings
}
