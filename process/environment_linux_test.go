package process_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
)

const nobody = 65534

// Given is what a child in another environment gets: a lock, what it guards, and a handle to ask for.
type Given struct {
	L     *locks.Lock
	B     *shm.Block
	Other Guarded
}

// use counts under the lock, and makes a new object.
func (g Given) use(ctx context.Context) error {
	if _, err := shm.NewBlock(g.B.Segment(), "", 64); err != nil {
		return err
	}
	return locks.With(ctx, g.L, func() error {
		g.B.Uint32(0).Store(g.B.Uint32(0).Load() + 1)
		return nil
	})
}

func newGiven(t testing.TB) (g Given, other *shm.Segment) {
	g, other, err := makeGiven()
	proctest.Must(t, err)
	t.Cleanup(func() { errors.Join(g.B.Segment().Close(), other.Close()) })
	return g, other
}

func makeGiven() (g Given, other *shm.Segment, err error) {
	seg, err := shm.Anonymous(1)
	if err != nil {
		return g, nil, err
	}
	if g.L, err = locks.NewLock(seg, ""); err != nil {
		return g, nil, err
	}
	if g.B, err = shm.NewBlock(seg, "", 64); err != nil {
		return g, nil, err
	}
	other, g.Other, err = newGuarded()
	g.Other.N = 1
	return g, other, err
}

// asNobody does all that a child can do, as another user than its parent.
var asNobody = process.Register("as-nobody", func(ctx context.Context, g Given) error {
	if os.Getuid() != nobody || os.Getgid() != nobody {
		return fmt.Errorf("uid %d, gid %d", os.Getuid(), os.Getgid())
	}
	if err := g.use(ctx); err != nil {
		return err
	}
	if _, err := g.Other.use(ctx); err != nil {
		return err
	}
	return process.Run(ctx, usesGiven, g)
})

var usesGiven = process.Register("uses-given", func(ctx context.Context, g Given) error {
	return errors.Join(g.use(ctx), second(g.Other.use(ctx)))
})

func second[T any](_ T, err error) error { return err }

// startAsNobody is a program whose children run as nobody.
func startAsNobody(ctx context.Context) error {
	g, _, err := makeGiven()
	if err != nil {
		return err
	}
	if err := process.Run(ctx, asNobody, g); err != nil {
		return err
	}
	sum, err := g.Other.use(ctx)
	fmt.Println(g.B.Uint32(0).Load(), sum, err)
	return nil
}

// TestOtherUser: a child that runs as another user has all of what it was given, of what it asks for, and can give it
// to children of its own.
func TestOtherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs to be root, to become another user")
	}
	cmd := program(t, "other-uid")
	data, err := os.ReadFile(cmd.Path)
	proctest.Must(t, err)
	dir := t.TempDir()
	proctest.Must(t, os.Chmod(filepath.Dir(dir), 0o755)) // where that user may look
	cmd.Path = filepath.Join(dir, "program")
	proctest.Must(t, os.WriteFile(cmd.Path, data, 0o755))
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "2 3 <nil>\n" {
		t.Errorf("%v: %s", err, out)
	}
}

// unshares starts a child in a pid namespace of its own, where it is process 1.
var unshares = proctest.NewRole("unshares", func(ctx context.Context, c *proctest.Child, g Given) error {
	if err := process.Run(ctx, nothing, process.None{}); err != nil { // package os tries out a fork at the first start
		return err
	}
	var err error
	process.OnSpawner(func() { err = syscall.Unshare(syscall.CLONE_NEWPID) }) // whose children are in the namespace
	if err != nil {
		c.Say("no namespace: %v", err)
		return nil
	}
	g.B.Uint32(8).Store(g.B.Segment().Self())
	p, err := process.Start(ctx, first, g)
	if err != nil {
		return err
	}
	for g.B.Uint32(4).Load() == 0 && p.Alive() {
		runtime.Gosched()
	}
	if !p.Alive() {
		return p.Join(ctx)
	}
	c.Say("%d", g.B.Uint32(4).Load())
	c.Hear()
	if err := p.Kill(); err != nil {
		return err
	}
	c.Say("killed: %v", p.Join(ctx))
	c.Hear()
	return nil
})

// first is process 1; it looks at its parent, whose number means nothing here.
var first = process.Register("first", func(ctx context.Context, g Given) error {
	seg := g.B.Segment()
	if os.Getpid() != 1 {
		return fmt.Errorf("process %d", os.Getpid())
	}
	if seg.Dead(g.B.Uint32(8).Load()) {
		return errors.New("the parent is dead to a child in another namespace")
	}
	if err := errors.Join(g.use(ctx), second(g.Other.use(ctx))); err != nil {
		return err
	}
	g.B.Uint32(4).Store(seg.Self())
	<-ctx.Done()
	return ctx.Err()
})

// TestOtherPidNamespace: a child in another pid namespace works, and is alive and dead to others, and they to it.
func TestOtherPidNamespace(t *testing.T) {
	g, _ := newGiven(t)
	seg := g.B.Segment()
	p := unshares.Start(t, g)
	line := p.Line()
	id, err := strconv.ParseUint(line, 10, 32)
	if err != nil && os.Getuid() != 0 {
		t.Skipf("needs CAP_SYS_ADMIN, for a pid namespace: %s", line)
	}
	if err != nil || id == 0 {
		t.Fatalf("%s: %v", line, p.Wait())
	}
	if seg.Dead(uint32(id)) {
		t.Error("a child in another pid namespace is dead")
	}
	if !slices.ContainsFunc(seg.Participants(), func(p shm.Participant) bool { return p.Pid == 1 && p.Alive }) {
		t.Errorf("no participant is process 1: %+v", seg.Participants())
	}
	p.Tell("kill")
	p.Line()
	if !seg.Dead(uint32(id)) {
		t.Error("a killed child in another pid namespace lives")
	}
	if got := total(t, g.Other); got != 1 {
		t.Errorf("%d added", got)
	}
	p.Tell("end")
}

// fewDescriptors makes what takes descriptors until there are none.
var fewDescriptors = process.Register("few-descriptors", func(ctx context.Context, g Given) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = 64
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if err := process.Run(ctx, usesGiven, g); err != nil { // and what is opened once is open now
		return err
	}
	before := openFiles()
	var segments []*shm.Segment
	for {
		seg, err := shm.Anonymous(1)
		if err == nil {
			segments = append(segments, seg)
			continue
		}
		if !errors.Is(err, syscall.EMFILE) {
			return fmt.Errorf("segment %d: %w", len(segments), err)
		}
		break
	}
	if len(segments) < 20 {
		return fmt.Errorf("%d segments with a limit of 64 descriptors", len(segments))
	}
	if err := process.Run(ctx, usesGiven, g); !errors.Is(err, syscall.EMFILE) {
		return fmt.Errorf("a child without descriptors for it: %w", err)
	}
	if err := g.use(ctx); err != nil { // needs none
		return err
	}
	for _, seg := range segments {
		if err := seg.Close(); err != nil {
			return err
		}
	}
	for _, fd := range openFiles() {
		if !slices.Contains(before, fd) {
			return fmt.Errorf("descriptors %v, before %v", openFiles(), before)
		}
	}
	return process.Run(ctx, usesGiven, g)
})

// TestFewDescriptors: a process with a limit of 64 descriptors is told when they are short, and leaks none.
func TestFewDescriptors(t *testing.T) {
	g, _ := newGiven(t)
	join(t, start(t, fewDescriptors, g))
	living(t, g.B.Segment(), 1)
	if got := g.B.Uint32(0).Load(); got != 3 {
		t.Errorf("%d uses, want 3", got)
	}
}

// TestStoppedIsNotDead: however long a child is stopped.
func TestStoppedIsNotDead(t *testing.T) {
	s, segments := newShared(t)
	p := shares.Start(t, s)
	var ids [2]uint32
	_, err := fmt.Sscan(p.Line(), &ids[0], &ids[1])
	proctest.Must(t, err)
	p.Stop()
	for end := time.Now().Add(min(proctest.Stress(2*time.Second), 30*time.Second)); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for i, seg := range segments {
			if seg.Dead(ids[i]) || seg.KnownDead(ids[i]) {
				t.Fatalf("a stopped child is dead in segment %d", i)
			}
		}
	}
	p.Continue()
	p.Tell("end")
	proctest.Must(t, p.Wait())
	for i, seg := range segments {
		if !seg.Dead(ids[i]) {
			t.Errorf("segment %d: a child that ended lives", i)
		}
	}
}
