package bench_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/bench"
)

var update = flag.Bool("update", false, "write the table of docs/PERFORMANCE.md anew from its raw file")

// TestPerformanceTable: the table of docs/PERFORMANCE.md is that of its raw file, which `shoal bench --peers --json`
// wrote.
func TestPerformanceTable(t *testing.T) {
	const page, raw = "../docs/PERFORMANCE.md", "../docs/performance.json"
	text, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	var records []bench.Record
	if err := json.Unmarshal(text, &records); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- table -->\n", "<!-- end of table -->"
	before, rest, ok1 := strings.Cut(string(whole), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no place for the table", page)
	}
	want := before + begin + table(records) + end + after
	if want == string(whole) {
		return
	}
	if !*update {
		t.Fatalf("the table is not that of %s: go test ./bench -run PerformanceTable -update", raw)
	}
	if err := os.WriteFile(page, []byte(want), 0o666); err != nil {
		t.Fatal(err)
	}
}

// table is one for Markdown.
func table(records []bench.Record) string {
	var b strings.Builder
	fmt.Fprintln(&b, "| row | where | who | median | least to greatest | p50, p99, p99.9 | shoal costs |")
	fmt.Fprintln(&b, "|---|---|---|---|---|---|---|")
	var last bench.Record
	for _, r := range records {
		row, mode := "", ""
		if r.Name != last.Name || r.Mode != last.Mode {
			if row, mode = r.Name, string(r.Mode); r.Noisy {
				mode += ", noisy"
			}
		}
		last = r
		single, ratio := "", ""
		if r.P50 != nil && r.P99 != nil && r.P999 != nil {
			single = fmt.Sprintf("%s, %s, %s", bench.Nanoseconds(*r.P50), bench.Nanoseconds(*r.P99), bench.Nanoseconds(*r.P999))
		}
		if r.Ratio != 0 {
			ratio = bench.Times(r.Ratio) + " of it"
		}
		if r.Least != nil {
			who := fmt.Sprintf("least served %.0f%%", 100**r.Least)
			ratio = strings.TrimPrefix(ratio+"; "+who, "; ")
		}
		for _, name := range slices.Sorted(maps.Keys(r.Counts)) {
			ratio = strings.TrimPrefix(fmt.Sprintf("%s; %s %.0f", ratio, name, r.Counts[name]), "; ")
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s to %s | %s | %s |\n", row, mode, r.Impl, bench.Nanoseconds(r.Median),
			bench.Nanoseconds(r.Min), bench.Nanoseconds(r.Max), single, ratio)
	}
	return b.String()
}
