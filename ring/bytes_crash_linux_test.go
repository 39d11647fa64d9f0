//go:build crashpoint

package ring_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/ring"
	"github.com/shoal-ipc/shoal/shm"
)

type crashBytes struct{ B *shm.Block }

func (c crashBytes) open(t testing.TB) *ring.Bytes {
	t.Helper()
	return openBytes(t, c.B.Bytes(), c.B.Segment())
}

// crashBytesOf makes a ring for 1 KiB with records "1" to n in it, whose ends nobody has, and of which some have
// gone before, so that the next but few do not lie in one piece.
func crashBytesOf(n int) func(t testing.TB) crashBytes {
	return func(t testing.TB) crashBytes {
		seg := proctest.Segment(t, 1)
		b, err := shm.NewBlock(seg, "", ring.BytesSize(1024))
		proctest.Must(t, err)
		r := newBytes(t, b.Bytes(), 1024, seg)
		r.SetStart(1<<64-5, 1<<64-64)
		for i := range n {
			if !r.TryWrite([]byte(fmt.Sprint(i + 1))) {
				t.Fatal(r.Err())
			}
		}
		proctest.Must(t, r.Close())
		return crashBytes{b}
	}
}

func onBytes(f func(r *ring.Bytes) bool) func(ctx context.Context, c crashBytes) error {
	return func(ctx context.Context, c crashBytes) error {
		r, err := ring.OpenBytes(c.B.Bytes(), c.B.Segment())
		if err != nil {
			return err
		}
		if !f(r) {
			return errors.Join(errors.New("it did not work"), r.Err())
		}
		runtime.KeepAlive(c.B)
		return nil
	}
}

// crashWrite and crashRead are what a child does.
func crashWrite(r *ring.Bytes) bool {
	c, ok := r.Reserve(100)
	if !ok {
		return false
	}
	c.Commit(copy(c.Data, "a"))
	if c, ok = r.Reserve(60); !ok {
		return false
	}
	c.Abort()
	return r.TryWrite([]byte("b"))
}

func crashRead(r *ring.Bytes) bool { return reads("1", "2")(r) }

func reads(records ...string) func(r *ring.Bytes) bool {
	return func(r *ring.Bytes) bool {
		for _, want := range records {
			if p, ok := r.Next(); !ok || string(p) != want {
				return false
			}
			r.Advance()
		}
		return true
	}
}

var (
	opBytesWrite = proctest.NewOp("bytes/write", nil, onBytes(crashWrite))
	opBytesRead  = proctest.NewOp("bytes/read", nil, onBytes(crashRead))
	opBytesBury  = proctest.NewOp("bytes/bury", nil, onBytes(reads("1", "last")))
	opBytesTidy  = proctest.NewOp("bytes/tidy", nil, onBytes(reads("2", "3")))
	opBytesClose = proctest.NewOp("bytes/close", nil, onBytes(func(r *ring.Bytes) bool {
		if !crashWrite(r) || !crashRead(r) {
			return false
		}
		if _, ok := r.Reserve(10); !ok {
			return false
		}
		return r.Close() == nil
	}))
	opBytesNew = proctest.NewOp("bytes/new", nil, func(ctx context.Context, c crashBytes) error {
		_, err := ring.NewBytes(c.B.Bytes(), 1024, c.B.Segment())
		return err
	})
)

// abandonBytes claims a record of 90 bytes and is killed at the step that it is told; or it reads and is killed
// there.
var abandonBytes = proctest.NewRole("abandon-bytes", func(ctx context.Context, c *proctest.Child, a crashBytes) error {
	r, err := ring.OpenBytes(a.B.Bytes(), a.B.Segment())
	if err != nil {
		return err
	}
	step := c.Hear()
	crashpoint.ArmAt(crashpoint.Kill, step)
	if strings.HasPrefix(step, "bytes/pass") {
		r.Next()
		r.Advance()
	} else {
		room, ok := r.Reserve(90)
		if !ok {
			return r.Err()
		}
		copy(room.Data, "never")
		room.Commit(5)
	}
	return errors.New("not killed at " + step)
})

// abandoned is crashBytesOf, whose last user was killed at a step; then others have written "last".
func abandoned(n int, step string) func(t testing.TB) crashBytes {
	return func(t testing.TB) crashBytes {
		a := crashBytesOf(n)(t)
		p := abandonBytes.Start(t, a)
		p.Tell(step)
		if code := p.ExitCode(); code != -9 {
			t.Fatalf("exit code %d", code)
		}
		if strings.HasPrefix(step, "bytes/pass") {
			return a
		}
		w := a.open(t)
		if !w.TryWrite([]byte("last")) {
			t.Fatal(w.Err())
		}
		proctest.Must(t, w.Close())
		return a
	}
}

// beside is what others can do while the child is stopped: write, and if it is no consumer read what came before
// its records.
func beside(consumer bool, first string) func(t testing.TB, a crashBytes) {
	return func(t testing.TB, a crashBytes) {
		r := a.open(t)
		for range 3 {
			if !r.TryWrite([]byte("s")) {
				t.Fatal("nobody can write beside a stopped process: ", r.Err())
			}
		}
		// Not yet read is what the child has in hand, and what it has not come to.
		err := r.Consume()
		if consumer && err != nil && !errors.Is(err, ring.ErrBusy) || !consumer && err != nil {
			t.Errorf("Consume beside a stopped process: %v", err)
		}
		if err == nil && first != "" {
			if p, ok := r.Next(); !ok || string(p) != first {
				t.Errorf("beside a stopped process the first is %q, %v", p, ok)
			}
		}
		proctest.Must(t, r.Close())
	}
}

// rest takes the end and returns what is in the ring, less what beside wrote; and then the ring goes on.
func rest(t testing.TB, a crashBytes) []string {
	t.Helper()
	r := a.open(t)
	proctest.Must(t, r.Consume())
	got := texts(readAll(r))
	proctest.Must(t, r.Err())
	for i := range 3 * r.Slots() {
		if !r.TryWrite(record(i, 128)) {
			t.Fatal("the ring does not go on: ", r.Err())
		}
		if all := readAll(r); len(all) != 1 || !isRecord(all[0], i) {
			t.Fatalf("the ring does not go on: %d records, %v", len(all), r.Err())
		}
	}
	n := 0
	for r.TryWrite(record(0, 8)) {
		n++
	}
	if n != int(r.Slots()) {
		t.Errorf("%d records fit in the end", n)
	}
	stopped := len(got)
	got = slices.DeleteFunc(got, func(s string) bool { return s == "s" })
	if stopped -= len(got); stopped != 0 && stopped != 3 {
		t.Errorf("%d records of those that wrote beside a stopped process", stopped)
	}
	return got
}

// between reports whether got is all, without some of the first and without some of the last: at least the rest.
func between(got, first, rest, last []string) bool {
	for i := range len(first) + 1 {
		for j := range len(last) + 1 {
			if slices.Equal(got, slices.Concat(first[i:], rest, last[:j])) {
				return true
			}
		}
	}
	return false
}

// A producer killed at any step has written a beginning of what it meant to, and nothing is held up. One that is
// stopped holds up what comes after what it has begun, and lets others write.
func TestCrashBytesWrite(t *testing.T) {
	proctest.Crash(t, opBytesWrite, crashBytesOf(2), beside(false, "1"), func(t testing.TB, a crashBytes, survived bool) {
		got, want := rest(t, a), 2
		if !survived {
			want = int(left(t, []uint64{0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2}))
		}
		if !slices.Equal(got, []string{"1", "2", "a", "b"}[:2+want]) {
			t.Errorf("in the ring: %q", got)
		}
	})
}

// The same behind a record whose claimer was killed before it said where that ends, so that the child has to.
func TestCrashBytesHelp(t *testing.T) {
	setup := func(t testing.TB) crashBytes {
		a := crashBytesOf(2)(t)
		p := abandonBytes.Start(t, a)
		p.Tell("bytes/claim/claimed")
		if code := p.ExitCode(); code != -9 {
			t.Fatalf("exit code %d", code)
		}
		return a
	}
	proctest.Crash(t, opBytesWrite, setup, beside(false, "1"), func(t testing.TB, a crashBytes, survived bool) {
		got, want := rest(t, a), 2
		if !survived {
			want = int(left(t, []uint64{0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2}))
		}
		if !slices.Equal(got, []string{"1", "2", "a", "b"}[:2+want]) {
			t.Errorf("in the ring: %q", got)
		}
	})
}

// A consumer killed at any step has read a beginning of what was there; the next one gets the rest, what was in hand
// included.
func TestCrashBytesRead(t *testing.T) {
	proctest.Crash(t, opBytesRead, crashBytesOf(4), beside(true, ""), func(t testing.TB, a crashBytes, survived bool) {
		if survived {
			r := a.open(t)
			if err := r.Consume(); !errors.Is(err, ring.ErrBusy) {
				t.Errorf("the end of a living consumer: %v", err)
			}
			return
		}
		read := left(t, []uint64{0, 0, 1, 1, 1, 1, 2, 2, 2})
		if got := rest(t, a); !slices.Equal(got, []string{"1", "2", "3", "4"}[read:]) {
			t.Errorf("in the ring: %q, want all but %d", got, read)
		}
	})
}

// The same where it first has to make a tombstone of what a dead producer left, at each step of that.
func TestCrashBytesBury(t *testing.T) {
	for _, step := range []string{"bytes/claim/claimed", "bytes/commit/written"} {
		proctest.Crash(t, opBytesBury, abandoned(1, step), beside(true, ""), func(t testing.TB, a crashBytes, survived bool) {
			if survived {
				return
			}
			if got := rest(t, a); !between(got, []string{"1", "last"}, nil, nil) {
				t.Errorf("after a kill at %s: in the ring: %q", step, got)
			}
		})
	}
}

// The same where it first has to finish what a dead consumer left.
func TestCrashBytesTidy(t *testing.T) {
	for _, step := range []string{"bytes/pass/freed", "bytes/pass/passed"} {
		proctest.Crash(t, opBytesTidy, abandoned(4, step), beside(true, ""), func(t testing.TB, a crashBytes, survived bool) {
			if survived {
				return
			}
			if got := rest(t, a); !between(got, []string{"2", "3"}, []string{"4"}, nil) {
				t.Errorf("after a kill at %s: in the ring: %q", step, got)
			}
		})
	}
}

// A process killed while it closes has closed, or is dead: the same. What it had reserved is no record.
func TestCrashBytesClose(t *testing.T) {
	proctest.Crash(t, opBytesClose, crashBytesOf(2), nil, func(t testing.TB, a crashBytes, survived bool) {
		got := rest(t, a)
		if !between(got, []string{"1", "2"}, nil, []string{"a", "b"}) || survived && !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("in the ring: %q", got)
		}
	})
}

// A process killed while it makes a ring has made it, or somebody else can.
func TestCrashBytesNew(t *testing.T) {
	setup := func(t testing.TB) crashBytes {
		b, err := shm.NewBlock(proctest.Segment(t, 1), "", ring.BytesSize(1024))
		proctest.Must(t, err)
		return crashBytes{b}
	}
	proctest.Crash(t, opBytesNew, setup, func(t testing.TB, a crashBytes) {
		if _, err := ring.OpenBytes(a.B.Bytes(), a.B.Segment()); !errors.Is(err, ring.ErrKind) {
			t.Errorf("a ring that is not yet made: %v", err)
		}
	}, func(t testing.TB, a crashBytes, survived bool) {
		if !survived {
			newBytes(t, a.B.Bytes(), 1024, a.B.Segment())
		}
		if got := rest(t, a); len(got) != 0 {
			t.Errorf("in a new ring: %q", got)
		}
	})
}
