package rules_test

// violations are made-up modules. Each breaks one rule in one way, which the only finding must name with want;
// where want is empty it comes close, and there must be no finding.
var violations = []struct {
	rule, name string
	files      source
	want       string
	check      func(*tree) []string // instead of the rule's own, where that has a table of this module
}{
	{"imports point downwards", "up", source{
		"futex/futex.go": "package futex\nimport _ \"" + modulePath + "/locks\"",
	}, "futex/futex.go:2: futex (level 1, waits on a word of shared memory and wakes who waits there) " +
		"imports locks: that is level 4", nil},
	{"imports point downwards", "sideways", source{
		"value/value.go": "package value\nimport _ \"" + modulePath + "/array\"",
	}, "both are on level 5", nil},
	{"imports point downwards", "for another system only", source{
		"shm/shm_windows.go": "//go:build windows\n\npackage shm\nimport _ \"" + modulePath + "/process\"",
	}, "shm/shm_windows.go:4: shm (level 3", nil},
	{"imports point downwards", "of a test helper", source{
		"locks/lock.go": "package locks\nimport _ \"" + modulePath + "/internal/proctest\"",
	}, "that is level 8", nil},
	{"imports point downwards", "unknown package", source{
		"sham/sham.go": "package sham",
	}, "sham: unknown package: give it a level", nil},
	{"imports point downwards", "of an unknown package", source{
		"shm/shm.go": "package shm\nimport _ \"" + modulePath + "/sham\"",
	}, "it has no level", nil},
	{"imports point downwards", "foreign", source{
		"ring/ring.go": "package ring\nimport _ \"example.com/fast/ring\"",
	}, "ring imports example.com/fast/ring: library packages use the standard library and few modules", nil},
	{"imports point downwards", "foreign in the wrong place", source{
		"queue/queue.go": "package queue\nimport _ \"github.com/edsrzf/mmap-go\"",
	}, "only shm may", nil},
	{"imports point downwards", "cgo", source{
		"futex/futex.go": "package futex\nimport \"C\"",
	}, "without cgo", nil},
	{"imports point downwards", "none", source{
		"locks/lock.go":                "package locks\nimport _ \"" + modulePath + "/shm\"",
		"locks/lock_test.go":           "package locks_test\nimport _ \"example.com/x\"\nimport _ \"" + modulePath + "/pool\"",
		"locks/testdata/x.go":          "not Go",
		"shm/shm.go":                   "package shm\nimport _ \"github.com/edsrzf/mmap-go\"\nimport _ \"fmt\"",
		"cmd/shoal/main.go":            "package main\nimport _ \"example.com/x\"\nimport _ \"" + modulePath + "/cmd/shoal/demo\"",
		"cmd/shoal/demo/demo.go":       "package demo",
		"examples/grpc/go.mod":         "module example.com/grpc",
		"examples/grpc/sham/server.go": "package sham",
	}, "", nil},

	{"unsafe shows in the file name", "plain", source{
		"shm/map.go": "package shm\nimport \"unsafe\"",
	}, "shm/map.go:2: imports unsafe", nil},
	{"unsafe shows in the file name", "test", source{
		"shm/map_test.go": "package shm_test\nimport _ \"unsafe\"",
	}, "shm/map_test.go:2: imports unsafe", nil},
	{"unsafe shows in the file name", "not a word of its own", source{
		"shm/mapunsafe.go": "package shm\nimport _ \"unsafe\"",
	}, "shm/mapunsafe.go:2: imports unsafe", nil},
	{"unsafe shows in the file name", "none", source{
		"shm/map_unsafe.go":                  "package shm\nimport \"unsafe\"",
		"shm/map_unsafe_test.go":             "package shm\nimport \"unsafe\"",
		"shm/map_unsafe_linux.go":            "package shm\nimport \"unsafe\"",
		"internal/sys/x_unsafe_linux_386.go": "package sys\nimport \"unsafe\"",
		"shm/plain.go":                       "package shm // \"unsafe\"",
	}, "", nil},

	{"system calls in internal/sys only", "x/sys", source{
		"futex/wait.go": "package futex\nimport \"golang.org/x/sys/unix\"",
	}, "futex/wait.go:2: imports golang.org/x/sys/unix", nil},
	{"system calls in internal/sys only", "x/sys in a test", source{
		"futex/wait_test.go": "package futex_test\nimport \"golang.org/x/sys/unix\"",
	}, "futex/wait_test.go:2: imports golang.org/x/sys/unix", nil},
	{"system calls in internal/sys only", "raw", source{
		"futex/wait.go": "package futex\nimport \"syscall\"\nfunc f() { syscall.RawSyscall6(1, 2, 3, 4, 5, 6, 7) }",
	}, "futex/wait.go:3: uses syscall.RawSyscall6", nil},
	{"system calls in internal/sys only", "renamed", source{
		"futex/wait.go": "package futex\nimport sc \"syscall\"\nvar f = sc.Syscall",
	}, "futex/wait.go:3: uses syscall.Syscall", nil},
	{"system calls in internal/sys only", "hidden", source{
		"futex/wait.go": "package futex\nimport . \"syscall\"\nfunc f() { Syscall(1, 2, 3, 4) }",
	}, "a dot import of syscall", nil},
	{"system calls in internal/sys only", "none", source{
		"futex/wait.go":       "package futex\nimport \"syscall\"\nvar e syscall.Errno = syscall.EINTR\nvar s = syscall.SIGKILL",
		"internal/sys/sys.go": "package sys\nimport \"golang.org/x/sys/unix\"\nimport \"syscall\"\nvar f = syscall.Syscall",
	}, "", nil},

	{"one package comment", "none", source{
		"shm/shm.go": "package shm",
	}, "shm: no package comment", nil},
	{"one package comment", "two", source{
		"shm/doc.go": "// Package shm maps.\npackage shm",
		"shm/map.go": "// Package shm maps again.\npackage shm",
	}, "shm: several package comments: shm/doc.go, shm/map.go", nil},
	{"one package comment", "of another form", source{
		"shm/shm.go": "// This package maps.\npackage shm",
	}, `does not begin with "Package shm "`, nil},
	{"one package comment", "right", source{
		"shm/doc.go":        "// Package shm maps.\npackage shm",
		"shm/map_linux.go":  "//go:build linux\n\npackage shm",
		"shm/map_test.go":   "// Of the tests.\npackage shm_test",
		"cmd/shoal/main.go": "// The command line.\npackage main",
	}, "", nil},

	{"exported means documented", "function", source{
		"shm/shm.go": "package shm\n\nfunc Map() {}",
	}, "shm/shm.go:3: shm.Map has no comment", nil},
	{"exported means documented", "method of a generic type", source{
		"ring/ring.go": "package ring\n\n// R is a ring.\ntype R[T any] struct{}\n\nfunc (r *R[T]) Pop() {}",
	}, "ring.R.Pop has no comment", nil},
	{"exported means documented", "type", source{
		"shm/shm.go": "package shm\n\ntype Segment struct{}",
	}, "shm.Segment has no comment", nil},
	{"exported means documented", "variable", source{
		"shm/shm.go": "package shm\n\nvar (\n\t// ErrA is one.\n\tErrA = 1\n\tErrB = 2\n)",
	}, "shm.ErrB has no comment", nil},
	{"exported means documented", "not named by the comment above", source{
		"shm/shm.go": "package shm\n\n// A and B are alike.\nfunc A() {}\nfunc B() {}\nfunc C() {}",
	}, "shm.C has no comment", nil},
	{"exported means documented", "separated from the comment above", source{
		"shm/shm.go": "package shm\n\n// A and B are alike.\nfunc A() {}\n\nfunc B() {}",
	}, "shm.B has no comment", nil},
	{"exported means documented", "all", source{
		"shm/shm.go":        "package shm\n\n// A and B are alike.\nfunc A() {}\nfunc B() {}\n\nfunc c() {}",
		"shm/hidden.go":     "package shm\n\ntype d struct{}\n\nfunc (d) Lock() {}",
		"shm/x_linux.go":    "package shm\n\n// Map maps.\nfunc Map() {}",
		"shm/x_other.go":    "package shm\n\nfunc Map() {}",
		"shm/const.go":      "package shm\n\n// Kinds.\nconst (\n\tOne = iota\n\tTwo\n)\n\nvar Three = 3 // a number",
		"cmd/shoal/main.go": "package main\n\nfunc Run() {}",
	}, "", nil},

	{"no hidden state", "zero value", source{
		"shm/shm.go": "package shm\nvar table map[string]int",
	}, "shm/shm.go:2: shm.table: a variable without a value", noExceptions},
	{"no hidden state", "mutex", source{
		"shm/shm.go": "package shm\nimport \"sync\"\nvar table = struct{ sync.Mutex }{}",
	}, "shm.table: a variable for synchronisation", noExceptions},
	{"no hidden state", "call", source{
		"shm/shm.go": "package shm\nvar table = make(map[string]int)",
	}, "shm.table: made by make", noExceptions},
	{"no hidden state", "pointer", source{
		"shm/shm.go": "package shm\ntype t struct{}\nvar table = &t{}",
	}, "shm.table: a pointer", noExceptions},
	{"no hidden state", "assigned", source{
		"shm/shm.go": "package shm\nvar limit = 3\nfunc f() { limit = 4 }",
	}, "shm.limit: shm/shm.go:3 changes it", noExceptions},
	{"no hidden state", "sentinel assigned", source{
		"shm/shm.go":   "package shm\nimport \"errors\"\nvar ErrX = errors.New(\"x\")",
		"shm/other.go": "package shm\nfunc f() { ErrX = nil }",
	}, "shm.ErrX: shm/other.go:2 changes it", noExceptions},
	{"no hidden state", "table changed", source{
		"shm/shm.go": "package shm\nvar table = map[string]int{\"a\": 1}\nfunc f() { delete(table, \"a\") }",
	}, "shm.table: shm/shm.go:3 changes it", noExceptions},
	{"no hidden state", "part changed", source{
		"shm/shm.go": "package shm\nvar table = []struct{ n int }{{1}}\nfunc f() { table[0].n++ }",
	}, "shm.table: shm/shm.go:3 changes it", noExceptions},
	{"no hidden state", "address taken", source{
		"shm/shm.go": "package shm\nvar n = 1\nfunc f() *int { return &n }",
	}, "shm.n: shm/shm.go:3 changes it", noExceptions},
	{"no hidden state", "method that can change it", source{
		"shm/shm.go": "package shm\ntype t struct{ n int }\nfunc (x *t) inc() { x.n++ }\nvar n = t{1}\nfunc f() { n.inc() }",
	}, "shm.n: shm/shm.go:5 changes it", noExceptions},
	{"no hidden state", "init", source{
		"shm/shm.go": "package shm\nfunc init() {}",
	}, "shm.init: an init function", noExceptions},
	{"no hidden state", "exception without use", source{
		"shm/shm.go": "package shm\nvar limit = 3",
	}, "shm.limit, or it needs no exception: drop the row", func(t *tree) []string {
		return checkState(t, map[string]string{"shm.limit": "no reason"})
	}},
	{"no hidden state", "none", source{
		"shm/shm.go": "package shm\nimport (\"errors\"; \"regexp\"; \"github.com/shoal-ipc/shoal/process\")\n" +
			"var _ error = (*myErr)(nil)\n" +
			"var ErrX = errors.New(\"x\")\n" +
			"var name = regexp.MustCompile(`a`)\n" +
			"var table = map[string][]int{\"a\": {1}}\n" +
			"var count = process.Register(\"count\", func(n int) error { n++; return nil })\n" +
			"var typed = process.RegisterErrorType[*myErr](\"mine\")\n" +
			"type myErr struct{}\n" +
			"func f(x map[string]int) { table := x; table[\"a\"] = 1; typed := 1; typed = 2; _ = typed }\n" +
			"func (myErr) init() {}\n",
		"bench/bench.go": "package bench\nvar results []int",
	}, "", noExceptions},
	{"no hidden state", "an exception", source{
		"shm/shm.go": "package shm\nvar table map[string]int",
	}, "", func(t *tree) []string {
		return checkState(t, map[string]string{"shm.table": "maps by segment"})
	}},

	{"go.mod replaces nothing", "one", source{
		"go.mod": "module m\n\nreplace example.com/a => ../a\n",
	}, "go.mod:3: replace directive", nil},
	{"go.mod replaces nothing", "block", source{
		"tools.mod": "module m\nreplace (\n\texample.com/a => ../a\n)\n",
	}, "tools.mod:2: replace directive", nil},
	{"go.mod replaces nothing", "none", source{
		"go.mod": "module m // replace nothing\n\n// replace x => y\nrequire example.com/replace v1.0.0\n",
	}, "", nil},

	{"a crash point between two writes", "none between", source{
		"ring/ring.go": "package ring\nfunc (e *end) pass() {\n\te.own.Publish(1)\n\te.claim.Store(2)\n}",
	}, "ring/ring.go:4: pass writes to shared memory here and in line 3", noCrashExceptions},
	{"a crash point between two writes", "after one of two", source{
		"internal/wait/bell.go": "package wait\nfunc (b Bell) Ring() {\n\tif x {\n\t\tb.W.Add(1)\n\t} else {\n\t\tcrashpoint.Hit(\"x\")\n\t}\n\tb.W.Store(2)\n}",
	}, "internal/wait/bell.go:8: Ring writes to shared memory here and in line 4", noCrashExceptions},
	{"a crash point between two writes", "an exception that is none", source{
		"ring/ring.go": "package ring\nfunc lay() { h.a.Store(1) }",
	}, "ring.lay does not write twice in a row", crashOfRing},
	{"a crash point between two writes", "right", source{
		"ring/ring.go": "package ring\nfunc (e *end) pass() {\n\te.own.Publish(1)\n\tcrashpoint.Hit(\"x\")\n" +
			"\te.refused.Store(nil)\n\te.claim.Store(2)\n}",
	}, "", noCrashExceptions},
	{"a crash point between two writes", "one of two", source{
		"value/atomic.go": "package value\nfunc (a *A) Store() {\n\tif a.narrow() {\n\t\ta.n.Store(1)\n\t} else {\n\t\ta.w.Store(unsafe.Add(x, 1))\n\t}\n}",
	}, "", noCrashExceptions},
	{"a crash point between two writes", "an exception", source{
		"ring/ring.go": "package ring\nfunc lay() {\n\th.a.Store(1)\n\th.b.Store(1)\n}",
	}, "", crashOfRing},

	{"documents tell the truth", "package in the map", documented(source{
		"README.md": "# M\n\n## Packages\n\n| `shm` | maps |\n| `pool` | works |\n",
	}), "README.md: the map of packages has pool, which does not exist", nil},
	{"documents tell the truth", "package not in the map", documented(source{
		"locks/lock.go": "package locks",
	}), "README.md: the map of packages lacks locks", nil},
	{"documents tell the truth", "link", documented(source{
		"CONTRIBUTING.md": "See [the layout](docs/LAYOUT.md#shm) and [Go](https://go.dev).\n",
	}), "CONTRIBUTING.md: links to docs/LAYOUT.md", nil},
	{"documents tell the truth", "import path", documented(source{
		"CONTRIBUTING.md": "Try `go doc github.com/shoal-ipc/shoal/pool`.\n",
	}), "CONTRIBUTING.md: mentions package pool", nil},
	{"documents tell the truth", "change", documented(source{
		"CHANGELOG.md": "- `shm`: there.\n- `pool`: not there.\n",
	}), "CHANGELOG.md: has an entry for package pool", nil},
	{"documents tell the truth", "program", documented(source{
		"README.md":          "# M\n\n```go\npackage main\n```\n\n## Packages\n\n| `shm` | maps |\n",
		"examples/a/main.go": "package main\n\nfunc main() {}\n",
	}), "README.md: its program is none of the examples", nil},
	{"documents tell the truth", "page missing", source{
		"README.md":    "# M\n",
		"CHANGELOG.md": "# Changes\n",
	}, "CONTRIBUTING.md: missing", nil},
	{"documents tell the truth", "right", documented(source{
		"README.md": "# M\n\nSee [the list](CHANGELOG.md).\n\n```go\npackage main\n\nfunc main() {}\n```\n\n" +
			"## Packages\n\n| `shm` | maps |\n| `examples` | to read |\n\n## Planned\n\n| `pool` | later |\n",
		"examples/a/main.go": "package main\n\nfunc main() {}\n",
	}), "", nil},
}

// crashOfRing is the rule of crash points with one exception, and noCrashExceptions without any.
func crashOfRing(t *tree) []string {
	return checkCrashPoints(t, map[string]string{"ring.lay": "nobody sees it"})
}

func noCrashExceptions(t *tree) []string { return checkCrashPoints(t, nil) }

// noExceptions is the rule of hidden state without the exceptions of this module.
func noExceptions(t *tree) []string { return checkState(t, nil) }

// documented adds to files a package and the pages that go with it, where files does not have them.
func documented(files source) source {
	rest := source{
		"shm/shm.go":      "package shm",
		"README.md":       "# M\n\n## Packages\n\n| `shm` | maps |\n",
		"CONTRIBUTING.md": "How to.\n",
		"CHANGELOG.md":    "- `shm`: there.\n",
	}
	for name, content := range rest {
		if _, ok := files[name]; !ok {
			files[name] = content
		}
	}
	return files
}
