package demo_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/cmd/shoal/internal/demo"
	"github.com/shoal-ipc/shoal/cmd/shoal/internal/words"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/process"
)

// tree makes text files of so many bytes together, and returns their directory and the last of them.
func tree(t *testing.T, bytes int) (dir, last string) {
	t.Helper()
	dir = t.TempDir()
	for i := 0; bytes > 0; i++ {
		var b strings.Builder
		for j := 0; b.Len() < min(bytes, 1000<<(i%10)); j++ {
			fmt.Fprintf(&b, "Zeile %d_%d: häufig, 日本 häufig Ⱥ%d\n", i, j, j%97)
		}
		last = filepath.Join(dir, fmt.Sprintf("%05d", i))
		if err := os.WriteFile(last, []byte(b.String()), 0o666); err != nil {
			t.Fatal(err)
		}
		bytes -= b.Len()
	}
	return dir, last
}

func TestRun(t *testing.T) {
	dir, _ := tree(t, 3<<20)
	if err := os.WriteFile(filepath.Join(dir, "binary"), []byte("a\x00b"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "empty"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	var first *demo.Report
	for _, workers := range []int{1, 2, 5, 20} {
		var done, total int64
		r, err := demo.Run(t.Context(), demo.Options{Paths: []string{dir, dir}, Workers: workers, Words: true,
			Progress: func(d, all int64) {
				if d < done || d > all {
					t.Errorf("progress goes from %d to %d of %d", done, d, all)
				}
				done, total = d, all
			}})
		if err != nil {
			t.Fatalf("%d workers: %v", workers, err)
		}
		if total == 0 || done != total {
			t.Errorf("%d workers: progress ends at %d of %d", workers, done, total)
		}
		if r.Skipped != 1 || len(r.Workers) != workers || r.Distinct != len(r.Counts) {
			t.Errorf("%d workers: %d skipped, %d workers, %d distinct words of %d", workers, r.Skipped, len(r.Workers), r.Distinct, len(r.Counts))
		}
		var ranges, count uint64
		for _, p := range r.Workers {
			ranges += p.Ranges
			count += p.Words
			if p.Pid == os.Getpid() || p.Working <= 0 || p.Waiting < 0 {
				t.Errorf("%d workers: %+v", workers, p)
			}
		}
		if ranges != r.Ranges || count != r.Words {
			t.Errorf("%d workers: %d ranges and %d words, the totals say %d and %d", workers, ranges, count, r.Ranges, r.Words)
		}
		if first == nil {
			first = r
		} else if !maps.Equal(first.Counts, r.Counts) || first.Words != r.Words || first.Bytes != r.Bytes {
			t.Errorf("%d workers found something else than %d", workers, len(first.Workers))
		}
	}
}

func TestRunNoText(t *testing.T) {
	dir := t.TempDir()
	if _, err := demo.Run(t.Context(), demo.Options{Paths: []string{dir}, Workers: 2}); !errors.Is(err, demo.ErrNoText) {
		t.Errorf("nothing: %v, want ErrNoText", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "binary"), []byte("a\x00b"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := demo.Run(t.Context(), demo.Options{Paths: []string{dir}, Workers: 2}); !errors.Is(err, demo.ErrNoText) {
		t.Errorf("no text: %v, want ErrNoText", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "empty"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	r, err := demo.Run(t.Context(), demo.Options{Paths: []string{dir}, Workers: 2, Words: true})
	if err != nil || r.Words != 0 || r.Files != 1 {
		t.Fatalf("an empty text: %+v, error %v", r, err)
	}
	var out bytes.Buffer
	var fields map[string]any
	if err := r.WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out.Bytes(), &fields); err != nil || fields["counts"] == nil || fields["top"] == nil || fields["lengths"] == nil {
		t.Errorf("%s: error %v, or an empty field is missing", out.Bytes(), err)
	}
}

// middle runs a demo over more than its workers are dealt at once, and calls f when the first ranges are
// done, while nothing more can be dealt.
func middle(t *testing.T, ctx context.Context, workers int, f func(last string)) (*demo.Report, error) {
	t.Helper()
	dir, last := tree(t, 3*2*demo.BytesAhead)
	var once sync.Once
	r, err := demo.Run(ctx, demo.Options{Paths: []string{dir}, Workers: workers,
		Progress: func(int64, int64) { once.Do(func() { f(last) }) }})
	if n := len(process.Children()); n != 0 {
		t.Errorf("%d workers still run", n)
	}
	return r, err
}

// checkRanges adds up who has counted how many ranges.
func checkRanges(t *testing.T, r *demo.Report) {
	t.Helper()
	var sum uint64
	pids := make(map[int]bool)
	for _, p := range r.Workers {
		sum += p.Ranges
		pids[p.Pid] = true
	}
	for _, k := range r.Killed {
		if !pids[k.Pid] { // else it was killed when it had finished, and nobody took its place
			sum += k.Ranges
		}
	}
	if sum != r.Ranges {
		t.Errorf("the workers counted %d ranges, and the totals have %d: %+v, killed %+v",
			sum, r.Ranges, r.Workers, r.Killed)
	}
}

// TestWorkerKilled kills a worker that has reported ranges and holds others: another one goes on.
func TestWorkerKilled(t *testing.T) {
	for i := range 2 {
		var victim *process.Process
		r, err := middle(t, t.Context(), 2, func(string) {
			victim = process.Children()[i]
			if err := victim.Kill(); err != nil {
				t.Error(err)
			}
			<-victim.Done()
		})
		if err != nil {
			t.Errorf("worker %d: error %v, want none", i+1, err)
			continue
		}
		checkRanges(t, r)
		pid := victim.Pid()
		if k := r.Killed; len(k) != 1 || k[0].Pid != pid || k[0].Worker != i+1 || r.Workers[i].Pid == pid {
			t.Errorf("killed: %+v, want worker %d with pid %d; workers: %+v", k, i+1, pid, r.Workers)
		}
		var out bytes.Buffer
		err = r.WriteText(&out)
		if want := fmt.Sprintf("Worker %d (pid %d) was killed", i+1, pid); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("error %v, and %q is not in:\n%s", err, want, out.Bytes())
		}
	}
}

// TestWorkersKilledAnywhere kills a worker at any time, also while it holds the lock or sends its table.
func TestWorkersKilledAnywhere(t *testing.T) {
	dir, _ := tree(t, 1<<20)
	killed := 0
	for i := range 20 {
		stop := make(chan struct{})
		var wait sync.WaitGroup
		wait.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if children := process.Children(); len(children) == 3 {
					time.Sleep(time.Duration(i) * time.Millisecond) // anywhere: this only varies where
					children[i%3].Kill()
					return
				}
			}
		})
		r, err := demo.Run(t.Context(), demo.Options{Paths: []string{dir}, Workers: 3})
		close(stop)
		wait.Wait()
		if err != nil {
			t.Errorf("run %d: %v", i, err)
			continue
		}
		checkRanges(t, r)
		killed += len(r.Killed)
	}
	if killed == 0 {
		t.Error("no worker was killed in time")
	}
}

func TestKillOne(t *testing.T) {
	runs := 10
	if testing.Short() {
		runs = 2
	}
	random := proctest.Rand(t)
	for i := range runs {
		dir, _ := tree(t, 1+random.IntN(1<<(10+random.IntN(11))))
		workers := 1 + random.IntN(4)
		var done, total int64
		r, err := demo.Run(t.Context(), demo.Options{Paths: []string{dir}, Workers: workers, KillOne: random,
			Progress: func(d, all int64) { done, total = d, all }})
		if err != nil {
			t.Fatalf("run %d, %d workers: %v", i, workers, err)
		}
		if done != total {
			t.Errorf("run %d, %d workers: progress ends at %d of %d", i, workers, done, total)
		}
		checkRanges(t, r)
		if len(r.Killed) != 1 {
			t.Errorf("run %d, %d workers: killed %+v, want one", i, workers, r.Killed)
		}
	}
}

// TestKillOneEmpty: there is one to kill also when there is nothing to count.
func TestKillOneEmpty(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "empty"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	r, err := demo.Run(t.Context(), demo.Options{Paths: []string{dir}, Workers: 2, KillOne: rand.New(rand.NewPCG(0, 0))})
	if err != nil || len(r.Killed) != 1 {
		t.Errorf("error %v, report %+v; want one killed", err, r)
	}
}

// TestKilledForGood: workers are not replaced without end.
func TestKilledForGood(t *testing.T) {
	dir, _ := tree(t, 1<<20)
	stop := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond): // so that the others come to run
			}
			for _, p := range process.Children() {
				p.Kill()
			}
		}
	})
	_, err := demo.Run(t.Context(), demo.Options{Paths: []string{dir}, Workers: 2})
	close(stop)
	wait.Wait()
	var exit *process.ExitError
	if !errors.As(err, &exit) || exit.Signal != syscall.SIGKILL || !strings.Contains(err.Error(), "others were killed") {
		t.Errorf("error %v, want the end of a worker by SIGKILL, after others", err)
	}
}

// TestWorkerEnds: a worker that ends in another way than by SIGKILL is a failure.
func TestWorkerEnds(t *testing.T) {
	var victim *process.Process
	_, err := middle(t, t.Context(), 2, func(string) {
		victim = process.Children()[1]
		if err := victim.Terminate(); err != nil {
			t.Error(err)
		}
		<-victim.Done()
	})
	var exit *process.ExitError
	if !errors.As(err, &exit) || exit.Pid != victim.Pid() || exit.Signal != syscall.SIGTERM {
		t.Fatalf("error %v, want the worker's end by SIGTERM", err)
	}
	if text := err.Error(); !strings.Contains(text, "worker-2") || !strings.Contains(text, fmt.Sprint(exit.Pid)) {
		t.Errorf("%q does not name worker-2 and its pid", text)
	}
}

func TestInterrupted(t *testing.T) {
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	if _, err := middle(t, ctx, 2, func(string) { cancel(enough) }); err != enough {
		t.Errorf("error %v, want the cause of the context's end", err)
	}
}

// TestInterruptedWithStoppedWorker: a worker that cannot notice that the job has ended is killed.
func TestInterruptedWithStoppedWorker(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, err := middle(t, ctx, 2, func(string) {
		if err := syscall.Kill(process.Children()[0].Pid(), syscall.SIGSTOP); err != nil {
			t.Error(err)
		}
		cancel()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

// TestTerminalInterrupt: the SIGINT that a terminal sends to all processes is the parent's business alone.
func TestTerminalInterrupt(t *testing.T) {
	_, err := middle(t, t.Context(), 1, func(string) { // by one worker, which has begun
		if err := process.Children()[0].Interrupt(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Errorf("error %v, want none", err)
	}
}

func TestFileChanges(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"longer":  func(path string) error { return os.WriteFile(path, []byte("something else"), 0o666) },
		"removed": os.Remove,
	} {
		var changed string
		_, err := middle(t, t.Context(), 2, func(last string) {
			changed = last
			if err := change(last); err != nil {
				t.Error(err)
			}
		})
		if !errors.Is(err, words.ErrChanged) || !strings.Contains(err.Error(), changed) {
			t.Errorf("%s while several count: %v, want ErrChanged and its name", name, err)
		}

		dir, last := tree(t, 100<<10)
		var once sync.Once
		_, err = demo.Run(t.Context(), demo.Options{Paths: []string{dir}, Workers: 2, Progress: func(done, total int64) {
			if done == total/2 {
				once.Do(func() {
					if err := change(last); err != nil {
						t.Error(err)
					}
				})
			}
		}})
		if !errors.Is(err, words.ErrChanged) || !strings.Contains(err.Error(), last) {
			t.Errorf("%s while one counts: %v, want ErrChanged and its name", name, err)
		}
	}
}

// TestMismatch changes a file between the two counts in a way that only the words tell.
func TestMismatch(t *testing.T) {
	dir, last := tree(t, 100<<10)
	info, err := os.Stat(last)
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	_, err = demo.Run(t.Context(), demo.Options{Paths: []string{dir}, Workers: 2, Progress: func(done, total int64) {
		if done == total/2 {
			once.Do(func() {
				text, err := os.ReadFile(last)
				if err == nil {
					err = os.WriteFile(last, bytes.Replace(text, []byte("Zeile"), []byte("Keile"), 1), 0o666)
				}
				if err == nil {
					err = os.Chtimes(last, info.ModTime(), info.ModTime())
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
	}})
	if !errors.Is(err, demo.ErrMismatch) || !strings.Contains(err.Error(), "eile") {
		t.Errorf("error %v, want ErrMismatch and the word", err)
	}
}
