package rules_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
)

// crashFunctions are the functions that change shared memory in steps, by package: between any two of their
// writes, in the order of the text, stands a crashpoint.Hit.
var crashFunctions = map[string][]string{
	"shm":             {"claim", "introduce", "takeOver", "bury", "free", "leave", "commitTo", "lay", "publish", "giveUp", "link", "make"},
	"internal/robust": {"Take", "Free", "lock", "last", "TryLock", "Recover", "unlock", "bury"},
	"value":           {"store"},
	"ring":            {"TryPush", "TryPop", "take", "release", "pass"},
}

// sharedWrites are the methods that write to shared memory, and processLocal the fields on which they do not.
var (
	sharedWrites = []string{"Store", "CompareAndSwap", "Swap", "Add", "And", "Or", "Publish"}
	processLocal = []string{"refused", "err", "tries"}
)

// checkCrashPoints finds writes that follow another without a crash point in between, and functions that are
// not there.
func checkCrashPoints(t *tree, functions map[string][]string) (findings []string) {
	for dir, names := range functions {
		found := make(map[string]bool)
		for _, f := range t.packages()[dir] {
			for _, d := range f.ast.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok || fn.Body == nil || !slices.Contains(names, fn.Name.Name) {
					continue
				}
				found[fn.Name.Name] = true
				findings = append(findings, crashGaps(t.fset, fn)...)
			}
		}
		for _, name := range names {
			if !found[name] && t.packages()[dir] != nil {
				findings = append(findings, fmt.Sprintf("%s: no function %s: take it off the list", dir, name))
			}
		}
	}
	slices.Sort(findings)
	return findings
}

// crashGaps finds the writes of one function that have no crash point before them since the last write.
func crashGaps(fset *token.FileSet, fn *ast.FuncDecl) (findings []string) {
	var last token.Pos // of a write that no crash point follows yet
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if on, ok := sel.X.(*ast.Ident); ok && on.Name == "crashpoint" {
			last = token.NoPos
			return true
		}
		if !slices.Contains(sharedWrites, sel.Sel.Name) {
			return true
		}
		if field, ok := sel.X.(*ast.SelectorExpr); ok && slices.Contains(processLocal, field.Sel.Name) {
			return true
		}
		if last.IsValid() {
			at, before := fset.Position(sel.Sel.Pos()), fset.Position(last)
			findings = append(findings, fmt.Sprintf("%s:%d: %s writes to shared memory here and in line %d, without a crashpoint.Hit in between",
				at.Filename, at.Line, fn.Name.Name, before.Line))
		}
		last = sel.Sel.Pos()
		return true
	})
	return findings
}
