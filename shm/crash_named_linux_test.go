//go:build crashpoint

package shm_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/internal/inherit"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/shm"
)

// namedArgs are a name to work on, and a block (of another segment) in which the child's segment is noted.
type namedArgs struct {
	B    *shm.Block
	Name string
}

// note writes down who the segment is, as number n.
func (a namedArgs) note(n int, seg *shm.Segment) {
	id := shm.UUID(seg)
	copy(a.B.Bytes()[16*n:], id[:])
	runtime.KeepAlive(a.B)
}

func (a namedArgs) noted(n int) (id [16]byte) {
	copy(id[:], a.B.Bytes()[16*n:])
	runtime.KeepAlive(a.B)
	return id
}

// kept are the segments of a child that did its operation.
var kept []*shm.Segment

func namedOp(name string, do func(name string) (*shm.Segment, error)) *proctest.Op[namedArgs] {
	return proctest.NewOp(name, nil, func(ctx context.Context, a namedArgs) error {
		seg, err := do(a.Name)
		if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
			return nil // what others did while it was stopped
		}
		if seg != nil {
			kept = append(kept, seg)
			a.note(0, seg)
		}
		return err
	})
}

var (
	opCreate       = namedOp("shm/create", func(name string) (*shm.Segment, error) { return shm.Create(name, 1) })
	opCreateRename = namedOp("shm/create-rename", func(name string) (*shm.Segment, error) { return shm.CreateBy(shm.Ways[2], name, 1) })
	opCreateProc   = namedOp("shm/create-proc", func(name string) (*shm.Segment, error) { return shm.CreateBy(shm.Ways[1], name, 1) })
	opOpenNamed    = namedOp("shm/open", func(name string) (*shm.Segment, error) { return shm.Open(name) })
	opOpenOrCreate = namedOp("shm/open-or-create", func(name string) (*shm.Segment, error) { return shm.OpenOrCreate(name, 1) })
	opRemoveName   = namedOp("shm/remove", func(name string) (*shm.Segment, error) { return nil, shm.Remove(name) })
	opFreshen      = namedOp("shm/fresh", func(name string) (*shm.Segment, error) {
		return shm.OpenOrCreate(name, 1, shm.Options{Fresh: true})
	})
	opCollect = namedOp("shm/collect", func(name string) (*shm.Segment, error) { return nil, second(shm.List()) })
)

func newName(t testing.TB) namedArgs {
	return namedArgs{block(t, proctest.Segment(t, 1), "", 64), proctest.Name(t)}
}

// newNamed is the name of a segment that nobody has.
func newNamed(t testing.TB) namedArgs {
	a := newName(t)
	seg, err := shm.Create(a.Name, 1)
	proctest.Must(t, err)
	block(t, seg, "old", 8)
	a.note(1, seg)
	proctest.Must(t, seg.Close())
	return a
}

// goesOn uses the name as everybody can.
func (a namedArgs) goesOn(t testing.TB) (id [16]byte) {
	t.Helper()
	seg, err := shm.OpenOrCreate(a.Name, 1)
	proctest.Must(t, err)
	defer seg.Close()
	proctest.Must(t, seg.Check())
	block(t, seg, "", 100)
	if in, err := shm.Stat(a.Name); err != nil || in.Living < 1 {
		t.Errorf("%+v, %v", in, err)
	}
	return shm.UUID(seg)
}

// after checks what is left when the child has done its operation, or has been killed.
func (a namedArgs) after(t testing.TB, survived bool) {
	t.Helper()
	if seg, err := shm.Open(a.Name); err == nil { // complete, if it is there
		proctest.Must(t, seg.Check())
		most := 1
		if survived {
			most = 2
		}
		alive(t, seg, most)
		proctest.Must(t, seg.Close())
	} else if !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if !survived {
		// Nobody has it: it can be replaced, and removed, at once.
		before := a.goesOn(t)
		seg, err := shm.OpenOrCreate(a.Name, 1, shm.Options{Fresh: true})
		proctest.Must(t, err)
		if shm.UUID(seg) == before {
			t.Error("a killed process keeps a segment from being replaced")
		}
		proctest.Must(t, seg.Close())
	} else {
		a.goesOn(t)
	}
	proctest.Must(t, shm.Remove(a.Name))
	a.goesOn(t)
	if left := leftovers(t); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A process that is killed while it creates a segment leaves a complete one or none; while it is stopped others
// create, open and remove that name.
func TestCrashCreate(t *testing.T) {
	for _, op := range []*proctest.Op[namedArgs]{opCreate, opCreateProc, opCreateRename} {
		proctest.Crash(t, op, newName, func(t testing.TB, a namedArgs) {
			a.goesOn(t)
			proctest.Must(t, shm.Remove(a.Name))
		}, func(t testing.TB, a namedArgs, survived bool) { a.after(t, survived) })
	}
}

// A process that is killed while it opens a segment was never there. While it is stopped others go on, and when
// it goes on it finds the segment to which the name leads then.
func TestCrashOpen(t *testing.T) {
	proctest.Crash(t, opOpenNamed, newNamed, func(t testing.TB, a namedArgs) {
		if id := a.goesOn(t); id != a.noted(1) {
			t.Error("another segment")
		}
		seg, err := shm.OpenOrCreate(a.Name, 1, shm.Options{Fresh: true}) // the stopped one counts
		proctest.Must(t, err)
		if shm.UUID(seg) != a.noted(1) {
			t.Error("a segment that a stopped process opens was replaced")
		}
		proctest.Must(t, seg.Close())
	}, func(t testing.TB, a namedArgs, survived bool) {
		if survived && a.noted(0) != a.noted(1) {
			t.Error("it is in another segment")
		}
		a.after(t, survived)
	})
}

// The same, and the name gets another segment while it is stopped: it is in that one, or it was done before.
func TestCrashOpenMoved(t *testing.T) {
	proctest.Crash(t, opOpenOrCreate, newNamed, func(t testing.TB, a namedArgs) {
		proctest.Must(t, shm.Remove(a.Name))
		seg, err := shm.Create(a.Name, 1)
		proctest.Must(t, err)
		a.note(2, seg)
		proctest.Must(t, seg.Close())
	}, func(t testing.TB, a namedArgs, survived bool) {
		moved := a.noted(2) != [16]byte{}
		if id := a.noted(0); survived && id != a.noted(1) && id != a.noted(2) {
			t.Error("it is in a third segment")
		} else if moved && id == a.noted(1) {
			// Then it has joined before, and found the name in place.
			if !strings.HasSuffix(t.Name(), "checked") {
				t.Errorf("it is in the segment that was removed")
			}
		}
		a.after(t, survived)
	})
}

// Of one that is stopped and others, all get one segment.
func TestCrashOpenOrCreate(t *testing.T) {
	proctest.Crash(t, opOpenOrCreate, newName, func(t testing.TB, a namedArgs) {
		seg, err := shm.OpenOrCreate(a.Name, 1)
		proctest.Must(t, err)
		a.note(1, seg)
		proctest.Must(t, seg.Close())
	}, func(t testing.TB, a namedArgs, survived bool) {
		if id := a.noted(1); survived && id != [16]byte{} && id != a.noted(0) {
			t.Error("one name, two segments")
		}
		a.after(t, survived)
	})
}

// A process that is killed while it removes a name has removed it or not. While it is stopped others open the
// name; who wants to remove it succeeds or gives up.
func TestCrashRemove(t *testing.T) {
	proctest.Crash(t, opRemoveName, newNamed, func(t testing.TB, a namedArgs) {
		a.goesOn(t)
		if err := shm.Remove(a.Name); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		a.goesOn(t)
	}, func(t testing.TB, a namedArgs, survived bool) { a.after(t, survived) })
}

// A process that is killed while it replaces a segment leaves the old one, the new one, or none. While it is
// stopped others go on, or give up.
func TestCrashFresh(t *testing.T) {
	proctest.Crash(t, opFreshen, newNamed, func(t testing.TB, a namedArgs) {
		for _, o := range []shm.Options{{}, {Fresh: true}} {
			seg, err := shm.OpenOrCreate(a.Name, 1, o)
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
			}
			if err == nil {
				proctest.Must(t, seg.Close())
			}
		}
		if _, err := shm.Stat(a.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}, func(t testing.TB, a namedArgs, survived bool) { a.after(t, survived) })
}

// Nobody replaces a segment that goes from hand to hand meanwhile: who had it prepares a participant for another process,
// and leaves.
func TestCrashFreshHandedOn(t *testing.T) {
	var seg *shm.Segment
	var gift *inherit.Gift
	proctest.Crash(t, opFreshen, func(t testing.TB) namedArgs {
		a := newName(t)
		var err error
		seg, err = shm.Create(a.Name, 1)
		proctest.Must(t, err)
		a.note(1, seg)
		return a
	}, func(t testing.TB, a namedArgs) {
		var err error
		gift, err = seg.Prepare()
		proctest.Must(t, err)
		proctest.Must(t, seg.Close())
	}, func(t testing.TB, a namedArgs, survived bool) {
		if survived && a.noted(0) != a.noted(1) {
			t.Error("a segment was replaced that somebody has")
		}
		if gift != nil {
			gift.Abandon()
		}
		proctest.Must(t, seg.Close())
		seg, gift = nil, nil // which keep it mapped
	})
}

// Who removes the leftovers of others leaves none itself.
func TestCrashCollect(t *testing.T) {
	proctest.Crash(t, opCollect, func(t testing.TB) namedArgs {
		a := newName(t)
		file := "/dev/shm/" + shm.TempPrefix + a.Name
		proctest.Must(t, os.WriteFile(file, nil, 0o600))
		t.Cleanup(func() { os.Remove(file) })
		return a
	}, func(t testing.TB, a namedArgs) { a.goesOn(t) }, func(t testing.TB, a namedArgs, survived bool) { a.after(t, survived) })
}

// A file can get its name after it was taken for a leftover and before it was locked as one. Who locked it and is
// stopped then holds up nobody.
func TestCrashCollectNamed(t *testing.T) {
	temp := func(a namedArgs) string { return "/dev/shm/" + shm.TempPrefix + a.Name }
	proctest.Crash(t, opCollect, func(t testing.TB) namedArgs {
		a := newNamed(t)
		proctest.Must(t, os.Rename(fileOf(a.Name), temp(a)))
		t.Cleanup(func() { os.Remove(temp(a)) })
		return a
	}, func(t testing.TB, a namedArgs) {
		if os.Rename(temp(a), fileOf(a.Name)) == nil && a.goesOn(t) != a.noted(1) {
			t.Error("another segment")
		}
	}, func(t testing.TB, a namedArgs, survived bool) { a.after(t, survived) })
}
