package shm_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
)

type twoBlocks struct{ A, B *shm.Block }

// visit is a child that says who it is in the segment and stays until it is told to go, or killed.
var visit = proctest.NewRole("visit", func(ctx context.Context, c *proctest.Child, b twoBlocks) error {
	if b.A.Segment() != b.B.Segment() {
		return errors.New("one segment, mapped twice")
	}
	b.A.Uint32(0).Add(1)
	c.Say("%d", b.A.Segment().Self())
	if c.Hear() == "leave" {
		if err := b.A.Segment().Close(); err != nil {
			return err
		}
		c.Say("left")
		c.Hear()
	}
	return nil
})

func startVisit(t *testing.T, b twoBlocks) (*proctest.Proc, uint32) {
	t.Helper()
	p := visit.Start(t, b)
	id, err := strconv.ParseUint(p.Line(), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return p, uint32(id)
}

func twoIn(t *testing.T, seg *shm.Segment) twoBlocks {
	return twoBlocks{block(t, seg, "", 64), block(t, seg, "b", 64)}
}

// A killed process is dead to those who ask, a stopped one is not, and one that left is.
func TestDeath(t *testing.T) {
	seg := proctest.Segment(t, 0)
	b := twoIn(t, seg)
	killed, kid := startVisit(t, b)
	stopped, sid := startVisit(t, b)
	left, lid := startVisit(t, b)
	ended, eid := startVisit(t, b)

	for _, id := range []uint32{kid, sid, lid, eid} {
		if seg.Dead(id) {
			t.Errorf("%#x is dead", id)
		}
	}
	if n := b.A.Uint32(0).Load(); n != 4 {
		t.Errorf("%d of 4 children wrote", n)
	}
	pids := map[int]bool{}
	for _, p := range seg.Participants() {
		pids[p.Pid] = p.Alive
	}
	for _, pid := range []int{os.Getpid(), killed.Pid(), stopped.Pid(), left.Pid(), ended.Pid()} {
		if !pids[pid] {
			t.Errorf("process %d is no living participant: %v", pid, pids)
		}
	}

	stopped.Stop()
	if seg.Dead(sid) {
		t.Error("a stopped process is dead")
	}
	stopped.Continue()

	killed.Kill()
	killed.Wait()
	if !seg.Dead(kid) || !seg.KnownDead(kid) {
		t.Error("a killed process lives")
	}
	left.Tell("leave")
	left.WaitLine("left")
	if !seg.KnownDead(lid) {
		t.Error("a process that left lives")
	}
	left.Tell("go")
	ended.Tell("go")
	if err := ended.Wait(); err != nil {
		t.Error(err)
	}
	if !seg.Dead(eid) {
		t.Error("a process that ended lives")
	}
	in := seg.Info()
	if in.Living != 2 {
		t.Errorf("%d living participants, want this process and the one that was stopped", in.Living)
	}
	stopped.Tell("go")
	runtime.KeepAlive(b)
}

type nameArgs struct {
	In *shm.Block
	N  int
}

// make races with the others for names and says what it got.
var makeNames = proctest.NewRole("make-names", func(ctx context.Context, c *proctest.Child, a nameArgs) error {
	kind := shm.Kind{Name: "named"}
	c.Say("ready")
	c.Hear()
	for i := range a.N {
		var r shm.Ref
		mem, err := kind.OpenOrNew(&r, a.In.Segment(), fmt.Sprint(i), 16, func(mem []byte) error {
			copy(mem, fmt.Sprint(os.Getpid()))
			return nil
		})
		if err != nil {
			return err
		}
		if mem[0] == 0 {
			return fmt.Errorf("name %d was seen before it was whole", i)
		}
		c.Say("%d", r.Handle().Offset)
		runtime.KeepAlive(&r)
	}
	return nil
})

// Processes that make the same names find the same objects.
func TestNameRaceBetweenProcesses(t *testing.T) {
	const n, procs = 200, 3
	seg := proctest.Segment(t, 0)
	a := nameArgs{block(t, seg, "", 64), n}
	var ps []*proctest.Proc
	for range procs {
		p := makeNames.Start(t, a)
		p.WaitLine("ready")
		ps = append(ps, p)
	}
	for _, p := range ps {
		p.Tell("go")
	}
	for i := range n {
		first := ps[0].Line()
		for _, p := range ps[1:] {
			if got := p.Line(); got != first {
				t.Fatalf("name %d is at %s and at %s", i, first, got)
			}
		}
	}
	for _, p := range ps {
		if err := p.Wait(); err != nil {
			t.Error(err)
		}
	}
	if objects := seg.Info().Objects; objects != n+1 {
		t.Errorf("%d objects, want %d", objects, n+1)
	}
}

type passArgs struct{ B *shm.Block }

// pass gives its block to a child of its own.
var pass process.Func[passArgs]

func init() {
	pass = process.Register("pass", func(ctx context.Context, a passArgs) error {
		if n := a.B.Uint32(0).Add(1); n < 4 {
			return process.Run(ctx, pass, a)
		}
		return nil
	})
}

// Objects go on from a child to its children.
func TestGrandchildren(t *testing.T) {
	seg := proctest.Segment(t, 0)
	b := block(t, seg, "", 64)
	if err := process.Run(t.Context(), pass, passArgs{b}); err != nil {
		t.Fatal(err)
	}
	if n := b.Uint32(0).Load(); n != 4 {
		t.Errorf("%d generations", n)
	}
}

// Children that are killed at any moment of their start leave participants that are dead, and no more.
func TestKilledWhileStarting(t *testing.T) {
	seg := proctest.Segment(t, 0)
	b := twoIn(t, seg)
	n := 40
	if testing.Short() {
		n = 10
	}
	for range n {
		p := visit.Start(t, b)
		p.Kill()
		p.Wait()
	}
	for i, p := range seg.Participants() {
		if p.Alive != (i == 0) {
			t.Errorf("participant %d: %+v", i, p)
		}
	}
	runtime.KeepAlive(b)
}
