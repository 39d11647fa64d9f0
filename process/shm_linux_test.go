package process_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
)

// Shared are objects of two segments, at several places of an argument.
type Shared struct {
	A    *shm.Block
	More []*shm.Block
	ByID map[int]*shm.Block
	None *shm.Block
}

func (s Shared) blocks() []*shm.Block {
	return append([]*shm.Block{s.A, s.ByID[7]}, s.More...)
}

var shares = proctest.NewRole("shares", func(ctx context.Context, c *proctest.Child, s Shared) error {
	if s.None != nil {
		return errors.New("nothing became something")
	}
	for _, b := range s.blocks() {
		b.Uint32(0).Add(b.Uint32(4).Load())
	}
	c.Say("%d %d", s.A.Segment().Self(), s.ByID[7].Segment().Self())
	c.Hear()
	return nil
})

// passesOn hands its objects to a child of its own.
var passesOn = process.Register("passes-on", func(ctx context.Context, s Shared) error {
	return process.Run(ctx, adds, s, s)
})

var adds = process.Register("adds", func(ctx context.Context, s Shared) error {
	for _, b := range s.blocks() {
		b.Uint32(0).Add(b.Uint32(4).Load())
	}
	return nil
})

func newShared(t *testing.T) (s Shared, segments []*shm.Segment) {
	t.Helper()
	var blocks []*shm.Block
	for i := range 4 {
		if i%2 == 0 {
			seg, err := shm.Anonymous(1 << 20)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { seg.Close() })
			segments = append(segments, seg)
		}
		b, err := shm.NewBlock(segments[i/2], "", 128)
		if err != nil {
			t.Fatal(err)
		}
		b.Uint32(4).Store(uint32(i + 1))
		blocks = append(blocks, b)
	}
	return Shared{A: blocks[0], More: blocks[1:3], ByID: map[int]*shm.Block{7: blocks[3]}}, segments
}

func (s Shared) check(t *testing.T, times uint32) {
	t.Helper()
	for _, b := range s.blocks() {
		if got, want := b.Uint32(0).Load(), times*b.Uint32(4).Load(); got != want {
			t.Errorf("a word is %d, want %d", got, want)
		}
	}
}

// TestObjects: objects arrive usable, the child is a participant as long as it lives, and nothing of it stays.
func TestObjects(t *testing.T) {
	s, segments := newShared(t)
	before := openFiles()
	p := shares.Start(t, s)
	var ids [2]uint32
	if _, err := fmt.Sscan(p.Line(), &ids[0], &ids[1]); err != nil {
		t.Fatal(err)
	}
	s.check(t, 1)
	for i, seg := range segments {
		if ids[i] == seg.Self() || seg.Dead(ids[i]) {
			t.Errorf("segment %d: the child is %d, this process %d, dead %t", i, ids[i], seg.Self(), seg.Dead(ids[i]))
		}
	}
	p.Kill()
	p.Wait()
	for i, seg := range segments {
		if !seg.Dead(ids[i]) {
			t.Errorf("segment %d: the child was killed and is not dead", i)
		}
	}
	if err := process.Run(t.Context(), passesOn, s, s); err != nil {
		t.Error(err)
	}
	s.check(t, 5)
	for len(openFiles())-len(before) > 2 { // the role's pipes, until the end of the test
		runtime.Gosched() // until the watch over those that have ended has
	}
	live := 0
	for _, seg := range segments {
		for _, p := range seg.Participants() {
			if p.Alive {
				live++
			}
		}
	}
	if live != len(segments) {
		t.Errorf("%d living participants, want %d", live, len(segments))
	}
}

// TestCloseOnExec: what a child inherited (files, control socket, two descriptors for each segment) goes no
// further.
func TestCloseOnExec(t *testing.T) {
	s, segments := newShared(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	a := Inherited{Shared: s, Descriptors: 2 + 1 + 2*len(segments)}
	join(t, start(t, inherits, a, process.Options{Files: []*os.File{null, null}}))
}

// Inherited are a number of descriptors from 3 on.
type Inherited struct {
	Shared      Shared
	Descriptors int
}

var inherits = process.Register("inherits", func(ctx context.Context, a Inherited) error {
	for fd := 3; fd < 3+a.Descriptors; fd++ {
		info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
		if errors.Is(err, fs.ErrNotExist) {
			continue // closed, once what it was for was done: it goes no further either
		}
		if err != nil {
			return err
		}
		_, rest, _ := strings.Cut(string(info), "flags:")
		var flags int
		if _, err := fmt.Sscanf(rest, "%o", &flags); err != nil {
			return err
		}
		if flags&syscall.O_CLOEXEC == 0 {
			return fmt.Errorf("descriptor %d is not close-on-exec: flags %o", fd, flags)
		}
	}
	return nil
})

// TestObjectsNotStarted: a child that could not be started is no participant.
func TestObjectsNotStarted(t *testing.T) {
	s, segments := newShared(t)
	before := openFiles()
	p, err := process.Start(t.Context(), adds, s, process.Options{Dir: "/does/not/exist"})
	if !errors.Is(err, fs.ErrNotExist) || p != nil {
		t.Errorf("Start: %v, %v", p, err)
	}
	segments[1].Close() // the first can be prepared, the second not
	p, err = process.Start(t.Context(), adds, s)
	if !errors.Is(err, os.ErrClosed) || p != nil {
		t.Errorf("Start with an object of a segment that is closed: %v, %v", p, err)
	}
	for _, p := range segments[0].Participants() {
		if p.Alive && p.Pid != os.Getpid() {
			t.Errorf("participant %+v", p)
		}
	}
	after := openFiles()
	if slices.ContainsFunc(after, func(fd int) bool { return !slices.Contains(before, fd) }) {
		t.Errorf("descriptors %v, before %v", after, before)
	}
}

// TestObjectsMany children at once, each a participant.
func TestObjectsMany(t *testing.T) {
	s, _ := newShared(t)
	if err := process.Run(t.Context(), adds, slices.Repeat([]Shared{s}, 30)...); err != nil {
		t.Error(err)
	}
	s.check(t, 30)
}
