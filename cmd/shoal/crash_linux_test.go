//go:build crashpoint

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// report is what the tests read of a report.
type report struct {
	Words   uint64
	Counts  map[string]uint64
	Killed  []struct{ Pid int }
	Stopped []int
}

// crashDemo runs a demo, whose exit code is to be 0; reached is false if it did not come to a point of chances that it was
// asked for.
func crashDemo(t *testing.T, args ...string) (r report, stderr string, reached bool) {
	t.Helper()
	code, out, errs := shoal(t, append([]string{"demo", "--workers", "3", "--json", "--words"}, args...)...)
	missed := func(name string) bool { return strings.HasSuffix(errs, " "+name+"\n") }
	if code == exitFailure && slices.ContainsFunc(chances, missed) {
		return r, errs, false
	}
	if code != 0 {
		t.Fatalf("exit code %d, standard error %q", code, errs)
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	return r, errs, true
}

// manyWords makes a directory with text in several files, whose words fill a ring when they are sent.
func manyWords(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(1, 1))
	for i := range 20 {
		var b strings.Builder
		for range 1500 {
			fmt.Fprintf(&b, "Wort%dé ", random.IntN(30_000))
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte(b.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// chances are the points that a worker comes to only if it meets another one at the lock, or has to wait for work, or
// wakes somebody who waits for it: not every time.
var chances = []string{"robust/lock/queued", "robust/lock/woken", "robust/unlock/nobody", "wait/wait/asleep", "wait/ring/cleared"}

// TestCrashDemo kills, and stops, a worker at each point that one comes to: the answer is that of an undisturbed
// demo, of which the demo itself has seen to it that it is right.
func TestCrashDemo(t *testing.T) {
	dir := manyWords(t)
	undisturbed, listed, _ := crashDemo(t, "--list-points", dir)
	points := strings.Fields(listed)
	for _, need := range []string{"demo/add/recorded", "demo/apply/length", "demo/worker/table", "ring/pass/done"} {
		if !slices.Contains(points, need) {
			t.Errorf("no worker comes to %s, only to %v", need, points)
		}
	}
	var kills, stops atomic.Int32
	t.Run("at", func(t *testing.T) { // waits for what runs in parallel
		for _, name := range points {
			for how, done := range map[string]*atomic.Int32{"kill": &kills, "stop": &stops} {
				t.Run(how+"/"+name, func(t *testing.T) {
					t.Parallel()
					if crashAt(t, how, name, dir, undisturbed) {
						done.Add(1)
					}
				})
			}
		}
	})
	result := "ok"
	if t.Failed() {
		result = "FAILED"
	}
	fmt.Printf("crash: demo %d points, %d kills, %d stops, %s\n", len(points), kills.Load(), stops.Load(), result)
}

// crashAt lets the first worker be killed or stopped at a point, and reports whether it came there.
func crashAt(t *testing.T, how, name, dir string, undisturbed report) bool {
	r, errs, reached := crashDemo(t, "--"+how+"-at", name, dir)
	if !reached {
		return false
	}
	if r.Words != undisturbed.Words || !maps.Equal(r.Counts, undisturbed.Counts) {
		t.Errorf("%d words, %d of them different; want %d and %d, or other words",
			r.Words, len(r.Counts), undisturbed.Words, len(undisturbed.Counts))
	}
	if errs != "" || len(r.Killed)+len(r.Stopped) != 1 || (how == "kill") != (len(r.Killed) == 1) {
		t.Errorf("killed %v, stopped %v, standard error %q", r.Killed, r.Stopped, errs)
	}
	return true
}
