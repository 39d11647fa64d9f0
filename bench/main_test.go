package bench_test

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/bench"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/sys"
)

func TestMain(m *testing.M) { proctest.Main(m) }

// needTwoCPUs skips where two processes cannot spin beside each other.
func needTwoCPUs(tb testing.TB) {
	tb.Helper()
	if runtime.NumCPU() < 2 {
		tb.Skip("needs two CPUs")
	}
}

// bind keeps the calling goroutine on one CPU from now on.
func bind(cpu int) error {
	runtime.LockOSThread()
	return sys.SetAffinity(cpu)
}

// compare measures two sides in turn, one pair an iteration, and reports the medians, in ns, and the ratio.
// what says what an operation is.
func compare(b *testing.B, what string, first, second bench.Side) {
	p := bench.Interleave(first, second)
	for b.Loop() {
		if err := p.Measure(); err != nil {
			b.Fatal(err)
		}
	}
	b.Logf("ns, %s\n%v", what, p)
	for i, s := range p.Side {
		b.ReportMetric(bench.SpreadOf(p.Cost[i]).Median, s.Name+"-ns")
	}
	b.ReportMetric(p.Ratio().Median, second.Name+"/"+first.Name)
	b.ReportMetric(0, "ns/op") // an operation of b is a pair, which says nothing
}

// compilePeer compiles a C program of the directory peers and returns where it is.
func compilePeer(tb testing.TB, name string, flags ...string) string {
	tb.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		tb.Skip("no gcc here to compile the peer with")
	}
	program := filepath.Join(tb.TempDir(), name)
	args := append([]string{"-O2", "-o", program, filepath.Join("peers", name+".c")}, flags...)
	if out, err := exec.Command(gcc, args...).CombinedOutput(); err != nil {
		tb.Fatalf("gcc %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return program
}
