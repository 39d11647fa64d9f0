package rules_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestConformanceList accounts for every behaviour: it has a subtest, or is struck out with a reason, or is to
// come. A subtest is a call t.Run("ID", …), with the ID as a literal, somewhere in a function that is called
// TestConformance or begins so; the ID may be followed by a space and words. One ID may have several subtests,
// for several settings.
func TestConformanceList(t *testing.T) {
	module, err := parseTree(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	tests, findings := subtests(module)
	findings = append(findings, account(behaviours, tests, struck, toCome)...)
	for _, f := range findings {
		t.Error(f)
	}

	rows, perPackage := 0, ""
	for _, pkg := range slices.Sorted(maps.Keys(toCome)) {
		n := len(strings.Fields(toCome[pkg]))
		rows += n
		perPackage += fmt.Sprintf(" %s %d", pkg, n)
	}
	switch {
	case rows > toComeMax:
		t.Errorf("%d behaviours are to come, %d were: the list may only shrink", rows, toComeMax)
	case rows < toComeMax:
		t.Errorf("%d behaviours are to come: lower toComeMax from %d, so that it stays so", rows, toComeMax)
	}
	t.Logf("%d behaviours: %d tested, %d struck out, %d to come (%s)",
		len(behaviours), len(tests), len(struck), rows, strings.TrimSpace(perPackage))
}

// account holds the list against the three places in which each ID must be exactly once.
func account(list []behaviour, tests map[string][]string, struck, toCome map[string]string) (findings []string) {
	places := make(map[string][]string)
	for _, id := range slices.Sorted(maps.Keys(tests)) {
		places[id] = append(places[id], "a subtest ("+tests[id][0]+")")
	}
	for _, id := range slices.Sorted(maps.Keys(struck)) {
		places[id] = append(places[id], "struck")
		if struck[id] == "" {
			findings = append(findings, id+": struck without a reason")
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(toCome)) {
		for _, id := range strings.Fields(toCome[pkg]) {
			places[id] = append(places[id], "toCome["+strconv.Quote(pkg)+"]")
		}
	}
	listed := make(map[string]bool)
	for _, b := range list {
		if listed[b.id] {
			findings = append(findings, b.id+": twice in the list")
		}
		listed[b.id] = true
		switch in := places[b.id]; len(in) {
		case 0:
			findings = append(findings, b.id+" ("+b.what+"): no subtest, not struck, not to come")
		case 1:
		default:
			findings = append(findings, b.id+" ("+b.what+"): in more than one place: "+strings.Join(in, ", "))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(places)) {
		if !listed[id] {
			findings = append(findings, id+": not in the list, but "+places[id][0])
		}
	}
	return findings
}

var subtestName = regexp.MustCompile(`^([A-Z]+-[0-9]+)(?:$|[ /_])`)

// subtests finds the subtests of conformance tests, with the places of each ID. One that does nothing or
// skips is a finding, for it would count as coverage.
func subtests(t *tree) (ids map[string][]string, findings []string) {
	ids = make(map[string][]string)
	functions := make(map[string]*ast.FuncDecl) // of tests, by directory and name
	for _, f := range t.files {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && f.test && fn.Recv == nil && fn.Body != nil {
				functions[f.dir+"."+fn.Name.Name] = fn
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(functions)) {
		fn := functions[key]
		dir, name := key[:strings.LastIndex(key, ".")], fn.Name.Name
		if !strings.HasPrefix(name, "TestConformance") {
			continue
		}
		if skip := firstSkip(fn.Body); skip != nil {
			findings = append(findings, t.at(skip, "%s skips: a conformance test has to run", name))
		}
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			id, call := subtest(n)
			if id == "" {
				return true
			}
			p := t.fset.Position(call.Pos())
			ids[id] = append(ids[id], fmt.Sprintf("%s:%d", p.Filename, p.Line))

			body := ast.Node(call.Args[1])
			if named, ok := body.(*ast.Ident); ok {
				if fn := functions[dir+"."+named.Name]; fn != nil {
					body = &ast.FuncLit{Type: fn.Type, Body: fn.Body}
					if skip := firstSkip(body); skip != nil {
						findings = append(findings, t.at(skip, "%s skips: a conformance test has to run", id))
					}
				}
			}
			ast.Inspect(body, func(n ast.Node) bool {
				lit, ok := n.(*ast.FuncLit)
				if ok && len(lit.Body.List) == 0 {
					findings = append(findings, t.at(call, "%s is empty", id))
				}
				return !ok // what a test does inside may be empty
			})
			return true
		})
	}
	return ids, findings
}

// subtest reads a call t.Run("ID", …); id is "" if n is something else.
func subtest(n ast.Node) (id string, call *ast.CallExpr) {
	call, ok := n.(*ast.CallExpr)
	if !ok || len(call.Args) != 2 {
		return "", nil
	}
	run, ok := call.Fun.(*ast.SelectorExpr)
	name, literal := call.Args[0].(*ast.BasicLit)
	if !ok || run.Sel.Name != "Run" || !literal || name.Kind != token.STRING {
		return "", nil
	}
	text, err := strconv.Unquote(name.Value)
	if err != nil {
		return "", nil
	}
	if m := subtestName.FindStringSubmatch(text); m != nil {
		return m[1], call
	}
	return "", nil
}

// firstSkip is the first call of Skip, Skipf or SkipNow in body, or nil.
func firstSkip(body ast.Node) (skip ast.Node) {
	ast.Inspect(body, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && skip == nil {
			switch sel.Sel.Name {
			case "Skip", "Skipf", "SkipNow":
				skip = sel
			}
		}
		return skip == nil
	})
	return skip
}

// TestConformanceListCanFail breaks the accounts in each way.
func TestConformanceListCanFail(t *testing.T) {
	list := []behaviour{{"A-01", "first"}, {"A-02", "second"}, {"A-03", "third"}}
	type rows = map[string]string
	for _, c := range []struct {
		name           string
		tests          string // the body of a conformance test in package a
		struck, toCome rows
		want           string // what the only finding contains; "" for none
	}{
		{"complete", `t.Run("A-01", func(t *testing.T) { t.Fail() })`, rows{"A-02": "no sense"}, rows{"a": "A-03"}, ""},
		{"with words, twice", `t.Run("A-01 goroutines", f); t.Run("A-01 processes", f)`, nil, rows{"a": "A-02 A-03"}, ""},
		{"with an empty function inside", `t.Run("A-01", both(func(t *testing.T) { t.Cleanup(func() {}) }))`,
			nil, rows{"a": "A-02 A-03"}, ""},
		{"nowhere", `t.Run("A-01", f)`, nil, rows{"a": "A-03"}, "A-02 (second): no subtest, not struck, not to come"},
		{"tested and to come", `t.Run("A-01", f)`, nil, rows{"a": "A-01 A-02 A-03"},
			"A-01 (first): in more than one place: a subtest (a/a_test.go:"},
		{"tested and struck", `t.Run("A-01", f)`, rows{"A-01": "no sense"}, rows{"a": "A-02 A-03"},
			"A-01 (first): in more than one place: a subtest (a/a_test.go:"},
		{"to come twice", ``, nil, rows{"a": "A-01 A-02 A-03", "b": "A-02"},
			`A-02 (second): in more than one place: toCome["a"], toCome["b"]`},
		{"struck without a reason", ``, rows{"A-01": ""}, rows{"a": "A-02 A-03"}, "A-01: struck without a reason"},
		{"not in the list", `t.Run("A-04", f)`, nil, rows{"a": "A-01 A-02 A-03"}, "A-04: not in the list, but a subtest"},
		{"empty", `t.Run("A-01", func(t *testing.T) { /* later */ })`, nil, rows{"a": "A-02 A-03"}, "A-01 is empty"},
		{"empty function", `t.Run("A-01", empty)`, nil, rows{"a": "A-02 A-03"}, "A-01 is empty"},
		{"wrapped and empty", `t.Run("A-01", both(func(t *testing.T) {}))`, nil, rows{"a": "A-02 A-03"}, "A-01 is empty"},
		{"skips", `t.Run("A-01", func(t *testing.T) { if true { t.Skip("later") } })`, nil, rows{"a": "A-02 A-03"},
			"TestConformance skips"},
		{"function skips", `t.Run("A-01", skips)`, nil, rows{"a": "A-02 A-03"}, "A-01 skips"},
		{"all skipped", `t.SkipNow(); t.Run("A-01", f)`, nil, rows{"a": "A-02 A-03"}, "TestConformance skips"},
		{"not a conformance test", `}; func TestOther(t *testing.T) { t.Run("A-01", f)`, nil, rows{"a": "A-02 A-03"},
			"A-01 (first): no subtest"},
	} {
		t.Run(c.name, func(t *testing.T) {
			module := source{"a/a_test.go": `package a_test
import "testing"
func TestConformance(t *testing.T) { ` + c.tests + ` }
func f(t *testing.T) { t.Fail() }
func empty(t *testing.T) {}
func skips(t *testing.T) { t.Skipf("later") }
func both(func(t *testing.T)) func(t *testing.T) { return f }
`}.parse(t)
			tests, findings := subtests(module)
			findings = append(findings, account(list, tests, c.struck, c.toCome)...)
			switch {
			case c.want == "" && len(findings) == 0:
			case c.want != "" && len(findings) == 1 && strings.Contains(findings[0], c.want):
			default:
				t.Errorf("findings %q, want one that contains %q", findings, c.want)
			}
		})
	}
}
