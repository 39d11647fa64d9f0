package rules_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
)

// crashPackages are the packages that write to shared memory: between any two writes of one of their functions,
// in the order of the text, stands a crashpoint.Hit.
var crashPackages = []string{"shm", "internal/robust", "internal/permits", "internal/rw", "internal/barrier", "internal/condition", "internal/wait", "internal/guard", "locks", "value", "array", "ring", "queue", "process", "pool",
	"cmd/shoal/internal/demo"}

// crashExceptions are the functions that may write twice in a row, by package and name, with the reason.
var crashExceptions = map[string]string{
	"shm.create":        "nobody else has the segment before it returns",
	"ring.NewSPSC":      "nobody sees the ring before the last write, which has a crash point before it",
	"ring.NewBytes":     "nobody sees the ring before the last write, which has a crash point before it",
	"ring.NewBroadcast": "nobody sees the ring before the last write, which has a crash point before it",
	"ring.describe":     "nobody sees the ring before the last write, which has a crash point before it",
	"ring.layOut":       "nobody sees the ring before describe's last write",
}

// sharedWrites are the methods that write to shared memory, and processLocal the fields on which they do not.
var (
	sharedWrites = []string{"Store", "CompareAndSwap", "Swap", "Add", "And", "Or", "Publish"}
	processLocal = []string{"refused", "err", "asked", "tries", "hint", "joined", "Tally", "tidying", "noted", "many",
		"needed", "missed", "rest", "gap",
		"fences", "eager", "unsure", "wakes", "barriers", "late", "tailGuess", "headGuess", "busy", "put", "get", "begun", "made"}
)

// checkCrashPoints finds writes that follow another without a crash point in between, and exceptions that are
// none.
func checkCrashPoints(t *tree, exceptions map[string]string) (findings []string) {
	used := make(map[string]bool)
	for _, dir := range crashPackages {
		for _, f := range t.packages()[dir] {
			for _, d := range f.ast.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok || fn.Body == nil {
					continue
				}
				g := gaps{fset: t.fset, function: fn.Name.Name}
				g.inspect(fn.Body)
				name := dir + "." + fn.Name.Name
				if _, ok := exceptions[name]; ok && len(g.findings) != 0 {
					used[name] = true
					continue
				}
				findings = append(findings, g.findings...)
			}
		}
	}
	for name := range exceptions {
		if !used[name] {
			findings = append(findings, fmt.Sprintf("%s does not write twice in a row: take it off crashExceptions", name))
		}
	}
	slices.Sort(findings)
	return findings
}

// gaps finds the writes of one function that have no crash point before them since the last write.
type gaps struct {
	fset     *token.FileSet
	function string
	last     token.Pos // of a write that no crash point follows yet
	findings []string
}

func (g *gaps) inspect(n ast.Node) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.IfStmt:
			if n.Else != nil { // one of the two happens
				if n.Init != nil {
					g.inspect(n.Init)
				}
				g.inspect(n.Cond)
				before := g.last
				g.inspect(n.Body)
				after := g.last
				g.last = before
				g.inspect(n.Else)
				g.last = max(g.last, after)
				return false
			}
		case *ast.CallExpr:
			g.call(n)
		}
		return true
	})
}

func (g *gaps) call(call *ast.CallExpr) {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return
	}
	if on, ok := sel.X.(*ast.Ident); ok {
		switch on.Name {
		case "crashpoint":
			g.last = token.NoPos
			return
		case "unsafe", "cmp":
			return
		}
	}
	if field, ok := sel.X.(*ast.SelectorExpr); ok && slices.Contains(processLocal, field.Sel.Name) {
		return
	}
	if !slices.Contains(sharedWrites, sel.Sel.Name) {
		return
	}
	if g.last.IsValid() {
		at, before := g.fset.Position(sel.Sel.Pos()), g.fset.Position(g.last)
		g.findings = append(g.findings, fmt.Sprintf("%s:%d: %s writes to shared memory here and in line %d, without a crashpoint.Hit in between",
			at.Filename, at.Line, g.function, before.Line))
	}
	g.last = sel.Sel.Pos()
}
