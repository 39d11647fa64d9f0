package rules_test

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

// root is the module, seen from this package's directory, where go test runs it.
const root = "../.."

// rule is one property of the source; check returns what breaks it, one line each.
type rule struct {
	name  string
	check func(*tree) []string
}

var rules = []rule{
	{"imports point downwards", checkImports},
	{"unsafe shows in the file name", checkUnsafeNames},
	{"system calls in internal/sys only", checkSyscalls},
	{"one package comment", checkPackageDocs},
	{"exported means documented", checkExportedDocs},
	{"no hidden state", func(t *tree) []string { return checkState(t, stateExceptions) }},
	{"a crash point between two writes", func(t *tree) []string { return checkCrashPoints(t, crashExceptions) }},
	{"go.mod replaces nothing", checkReplace},
	{"documents tell the truth", checkDocuments},
}

// TestRules checks this module.
func TestRules(t *testing.T) {
	module, err := parseTree(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	if len(module.files) == 0 {
		t.Fatal("no Go files found")
	}
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			for _, finding := range r.check(module) {
				t.Error(finding)
			}
		})
	}
}

// source is a made-up module: file names and contents.
type source map[string]string

func (s source) parse(t *testing.T) *tree {
	t.Helper()
	fsys := make(fstest.MapFS)
	for name, content := range s {
		fsys[name] = &fstest.MapFile{Data: []byte(content)}
	}
	module, err := parseTree(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return module
}

// TestRulesCanFail runs each rule on modules that break it, and on some that come close and do not.
func TestRulesCanFail(t *testing.T) {
	caught := make(map[string]bool)
	for _, c := range violations {
		t.Run(c.rule+"/"+c.name, func(t *testing.T) {
			var check func(*tree) []string
			for _, r := range rules {
				if r.name == c.rule {
					check = r.check
				}
			}
			if check == nil {
				t.Fatalf("no rule is called %q", c.rule)
			}
			if c.check != nil {
				check = c.check
			}
			findings := check(c.files.parse(t))
			if c.want == "" {
				for _, f := range findings {
					t.Errorf("finding in a module without fault: %s", f)
				}
				return
			}
			if len(findings) != 1 || !strings.Contains(findings[0], c.want) {
				t.Fatalf("findings %q, want one that contains %q", findings, c.want)
			}
			caught[c.rule] = true
		})
	}
	for _, r := range rules {
		if !caught[r.name] && !t.Failed() {
			t.Errorf("no made-up module breaks the rule %q", r.name)
		}
	}
}
