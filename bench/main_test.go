package bench_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edsrzf/mmap-go"

	"github.com/shoal-ipc/shoal/bench"
	"github.com/shoal-ipc/shoal/internal/sys"
)

// roleVar says to a process started by runRoles what it is.
const roleVar = "SHOAL_BENCH_ROLE"

// roles are what a started process can be. Each gets the memory that all sides map and its part of the job, and
// returns what it measured.
var roles = map[string]func(mem []byte, j job) (report, error){
	"spsc-produce": spscProduce,
	"spsc-consume": spscConsume,
}

// job is what a role is to do.
type job struct {
	CPU   int // to run on
	Items int
	Turns bool
}

// report is what a role measured, and on which CPU it was at its beginning and at its end.
type report struct {
	NS   float64
	CPUs [2]int
}

func TestMain(m *testing.M) {
	if name := os.Getenv(roleVar); name != "" {
		if err := playRole(name); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// playRole is the whole of a started process: the memory is descriptor 3, the job comes in and the report goes
// out by the standard streams.
func playRole(name string) error {
	run, ok := roles[name]
	if !ok {
		return errors.New("no such role")
	}
	var j job
	if err := json.NewDecoder(os.Stdin).Decode(&j); err != nil {
		return err
	}
	mem, err := mmap.Map(os.NewFile(3, "memory"), mmap.RDWR, 0)
	if err != nil {
		return err
	}
	go func() { // the benchmark died, or gave up on another process
		io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	r, err := run(mem, j)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// runRoles runs processes on one piece of memory at once, role i with job i, and returns their reports. When
// one fails the others are ended: they would spin for ever.
func runRoles(memory *os.File, names []string, jobs []job) ([]report, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	type process struct {
		cmd   *exec.Cmd
		leash io.WriteCloser // its standard input, with which it ends
		out   bytes.Buffer
	}
	var running []*process
	ended := make(chan error, len(names))
	for i, name := range names {
		p := &process{cmd: exec.Command(exe)}
		p.cmd.Env = append(os.Environ(), roleVar+"="+name)
		p.cmd.ExtraFiles = []*os.File{memory}
		p.cmd.Stdout, p.cmd.Stderr = &p.out, os.Stderr
		if p.leash, err = p.cmd.StdinPipe(); err == nil {
			err = p.cmd.Start()
		}
		if err != nil {
			break
		}
		running = append(running, p)
		err = json.NewEncoder(p.leash).Encode(jobs[i])
		go func() {
			if err := p.cmd.Wait(); err != nil {
				ended <- fmt.Errorf("%s: %w", name, err)
				return
			}
			ended <- nil
		}()
		if err != nil {
			break
		}
	}
	cut := func() {
		for _, p := range running {
			p.leash.Close()
		}
	}
	if err != nil {
		cut()
	}
	for range running {
		if e := <-ended; e != nil {
			cut()
			err = errors.Join(err, e)
		}
	}
	reports := make([]report, len(running))
	for i, p := range running {
		if err == nil {
			err = json.Unmarshal(p.out.Bytes(), &reports[i])
		}
	}
	return reports, err
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

// memoryFile is shared memory of size bytes, backed by real pages, with its mapping here.
func memoryFile(tb testing.TB, size int) (*os.File, mmap.MMap) {
	tb.Helper()
	f, err := sys.MemoryFile("bench", int64(size))
	if errors.Is(err, errors.ErrUnsupported) {
		tb.Skip("no shared memory on this system")
	}
	if err == nil {
		tb.Cleanup(func() { f.Close() })
		err = sys.Commit(f, 0, int64(size))
	}
	if err != nil {
		tb.Fatal(err)
	}
	mem, err := mmap.Map(f, mmap.RDWR, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { mem.Unmap() })
	return f, mem
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
