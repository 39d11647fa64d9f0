package rules_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"maps"
	"regexp"
	"slices"
)

// stateExceptions are the package variables that may change, and the init functions, of library packages, each
// with its reason. All else lives in a struct that somebody made. A row that matches nothing is an error.
var stateExceptions = map[string]string{
	"internal/parking.forced":    "tests force fallbacks with it",
	"internal/parking.hasWaitv":  "what the kernel can do does not change while we run",
	"internal/parking.hasRing":   "what the kernel can do does not change while we run",
	"internal/parking.pool":      "spares an allocation for each wait; what it holds means nothing",
	"internal/robust.longWaits":  "spares an allocation for each wait; what it holds means nothing",
	"internal/parking.places":    "spares an allocation for each wait; what it holds means nothing",
	"internal/parking.table":     "Kick must find every wait of this process, all handles of a lock one line; empty when nobody waits",
	"internal/parking.groups":    "the threads that wait for many goroutines; none when nobody waits",
	"internal/parking.direct":    "bounds the threads of this process; 0 when nobody waits",
	"internal/parking.total":     "counters of this process",
	"futex.probe":                "what the kernel can do does not change while we run",
	"queue.buffers":              "spares an allocation for each item; what it holds means nothing",
	"internal/codec.plans":       "a cache; as large as the number of types that the program sends",
	"internal/crashpoint.state":  "where a test is to kill this process; only with -tags crashpoint, and Disarm ends it",
	"internal/inherit.table":     "what the parent handed over arrives before anybody could hold it; Reset empties it",
	"internal/race.words":        "all handles of an object must find one word; with -race only, by weak pointers",
	"internal/robust.releases":   "no two releases by this process have the same mark, whatever handles they go through; it only counts",
	"internal/sentinel.table":    "an error is found by its name wherever it comes from; filled while packages are initialised",
	"internal/sys.forkMark":      "tells a forked process from its parent; set once",
	"internal/sys.origin":        "one moment on two clocks, read when the process starts",
	"internal/sys.pidNamespace":  "that of a process never changes",
	"internal/wait.forced":       "tests force fallbacks with it",
	"process.auth":               "the key of a program is the same wherever it is asked for; SetAuthKey(nil) empties it",
	"process.commands":           "no two commands have one default name; it only counts",
	"process.spawner":            "the kernel must see one parent of all children that does not end before the process does; none before the first start",
	"pool.registry":              "parent and worker find a function by its number; filled while packages are initialised",
	"process.family":             "this process has one parent and one set of children, until Finish",
	"process.registry":           "parent and child find a function by its name; filled while packages are initialised",
	"shm.watch":                  "one thread watches all segments, and finds what has begun before; empty when none has company",
	"shm.table":                  "an arriving handle must find its mapped segment; an entry goes with the segment",
	"internal/wait.registration": "a process is registered for barriers once, and stays so while it runs",
}

// checkState wants library packages without variables that change and without init functions: such state is
// shared by all users of a package, who cannot see it. A package variable passes if it is blank; an error
// sentinel, a compiled regular expression or another value made once (see pureCalls); a registration; or a
// table, and in each case if nothing in the package assigns to it, to a part of it, or takes its address.
func checkState(t *tree, exceptions map[string]string) (findings []string) {
	used := make(map[string]bool)
	report := func(dir string, id *ast.Ident, format string, args ...any) {
		name := dir + "." + id.Name
		if _, ok := exceptions[name]; ok {
			used[name] = true
			return
		}
		findings = append(findings, t.at(id, "%s: %s; put it into a struct, or with a reason into stateExceptions",
			name, fmt.Sprintf(format, args...)))
	}
	pkgs := t.packages()
	for _, dir := range t.dirs() {
		if !isLibrary(dir) {
			continue
		}
		changed := t.changed(pkgs[dir])
		for _, f := range pkgs[dir] {
			for _, d := range f.ast.Decls {
				switch d := d.(type) {
				case *ast.FuncDecl:
					if d.Recv == nil && d.Name.Name == "init" {
						report(dir, d.Name, "an init function runs in every program that imports the package")
					}
				case *ast.GenDecl:
					if d.Tok != token.VAR {
						continue
					}
					for _, spec := range d.Specs {
						spec := spec.(*ast.ValueSpec)
						for i, id := range spec.Names {
							if reason := state(spec, i); reason != "" {
								report(dir, id, "%s", reason)
							} else if where, ok := changed[id.Name]; ok {
								report(dir, id, "%s changes it", where)
							}
						}
					}
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(exceptions)) {
		if !used[name] {
			findings = append(findings, fmt.Sprintf(
				"stateExceptions: nothing is called %s, or it needs no exception: drop the row", name))
		}
	}
	return findings
}

// state says why the i-th variable of spec must be state, judging by its declaration, or "".
func state(spec *ast.ValueSpec, i int) string {
	if spec.Names[i].Name == "_" {
		return ""
	}
	if spec.Type != nil && mentionsSync(spec.Type) {
		return "a variable for synchronisation"
	}
	switch {
	case len(spec.Values) == 0:
		return "a variable without a value is there to be assigned"
	case len(spec.Values) == len(spec.Names):
		return mutable(spec.Values[i])
	}
	return mutable(spec.Values[0])
}

// mentionsSync reports whether type expression x contains a type of sync or sync/atomic.
func mentionsSync(x ast.Expr) bool {
	found := false
	ast.Inspect(x, func(n ast.Node) bool {
		if _, ok := n.(*ast.FuncLit); ok {
			return false
		}
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if p, ok := sel.X.(*ast.Ident); ok && (p.Name == "sync" || p.Name == "atomic") {
				found = true
			}
		}
		return !found
	})
	return found
}

// pureCalls make a value that does not change afterwards. Registrations are for programs that use this module,
// whose registries are exceptions.
var pureCalls = regexp.MustCompile(`^(errors\.New|fmt\.Errorf|regexp\.MustCompile|strings\.NewReplacer|` +
	`reflect\.(TypeFor|TypeOf)|unsafe\.(Sizeof|Alignof|Offsetof)|os\.Getpagesize|len|cap|min|max|` +
	`string|bool|u?int(8|16|32|64)?|uintptr|float(32|64)|time\.Duration|([a-z]+\.)?Register[A-Za-z]*)$`)

// mutable says why a variable that begins as x must be state, or "".
func mutable(x ast.Expr) string {
	reason := ""
	ast.Inspect(x, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			return false // runs later; what it assigns to is found there
		case *ast.UnaryExpr:
			if n.Op == token.AND {
				reason = "a pointer to something that can change"
			} else if n.Op == token.ARROW {
				reason = "a value received from a channel"
			}
		case *ast.CompositeLit:
			if n.Type != nil && mentionsSync(n.Type) {
				reason = "a variable for synchronisation"
			}
		case *ast.CallExpr:
			if name := types.ExprString(callee(n)); !pureCalls.MatchString(name) {
				reason = "made by " + name + ", which is not known to make what never changes (pureCalls)"
			}
		}
		return reason == ""
	})
	return reason
}

// callee is what n calls, without type arguments.
func callee(n *ast.CallExpr) ast.Expr {
	switch f := ast.Unparen(n.Fun).(type) {
	case *ast.IndexExpr:
		return f.X
	case *ast.IndexListExpr:
		return f.X
	default:
		return f
	}
}

// changed finds the package variables that code in files assigns to, in whole or in part, or takes the address
// of (calls of methods with a pointer receiver do so, too), with the first place at which it does. Types
// resolve the names only, so all other errors are ignored: the files of one package for several systems
// contradict each other.
func (t *tree) changed(files []file) map[string]string {
	info := &types.Info{
		Uses:       make(map[*ast.Ident]types.Object),
		Selections: make(map[*ast.SelectorExpr]*types.Selection),
	}
	config := types.Config{Error: func(error) {}, FakeImportC: true}
	var parsed []*ast.File
	for _, f := range files {
		parsed = append(parsed, f.ast)
	}
	pkg, _ := config.Check(files[0].dir, t.fset, parsed, info)

	places := make(map[string]string)
	mark := func(x ast.Expr) {
		id := base(x)
		if id == nil {
			return
		}
		if v, ok := info.Uses[id].(*types.Var); ok && v.Parent() == pkg.Scope() && places[id.Name] == "" {
			p := t.fset.Position(id.Pos())
			places[id.Name] = fmt.Sprintf("%s:%d", p.Filename, p.Line)
		}
	}
	for _, f := range parsed {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				if n.Tok != token.DEFINE {
					for _, x := range n.Lhs {
						mark(x)
					}
				}
			case *ast.IncDecStmt:
				mark(n.X)
			case *ast.UnaryExpr:
				if n.Op == token.AND {
					mark(n.X)
				}
			case *ast.RangeStmt:
				if n.Tok == token.ASSIGN {
					mark(n.Key)
					mark(n.Value)
				}
			case *ast.CallExpr:
				if f, ok := ast.Unparen(n.Fun).(*ast.Ident); ok && len(n.Args) > 0 &&
					(f.Name == "delete" || f.Name == "clear" || f.Name == "copy") {
					if _, builtin := info.Uses[f].(*types.Builtin); builtin {
						mark(n.Args[0])
					}
				}
			case *ast.SelectorExpr:
				if s := info.Selections[n]; s != nil && s.Kind() == types.MethodVal && !isPointer(s.Recv()) {
					if m, ok := s.Obj().Type().(*types.Signature); ok && m.Recv() != nil && isPointer(m.Recv().Type()) {
						mark(n.X)
					}
				}
			}
			return true
		})
	}
	return places
}

func isPointer(t types.Type) bool {
	_, ok := t.Underlying().(*types.Pointer)
	return ok
}

// base is the variable that x is a part of, or nil.
func base(x ast.Expr) *ast.Ident {
	for {
		switch e := x.(type) {
		case *ast.Ident:
			return e
		case *ast.ParenExpr:
			x = e.X
		case *ast.SelectorExpr:
			x = e.X
		case *ast.IndexExpr:
			x = e.X
		case *ast.SliceExpr:
			x = e.X
		case *ast.StarExpr:
			x = e.X
		default:
			return nil
		}
	}
}
