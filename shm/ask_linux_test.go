package shm_test

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/shoal-ipc/shoal/internal/inherit"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/shm"
)

// foreign makes a block whose segment this process has not, and what others would answer when asked for it.
func foreign(t *testing.T) (handle []byte, give func() inherit.Segment) {
	t.Helper()
	seg := proctest.Segment(t, 1)
	handle, err := block(t, seg, "", 64).MarshalBinary()
	proctest.Must(t, err)
	gift, err := seg.Prepare()
	proctest.Must(t, err)
	keep, err := sys.Reopen(shm.File(seg)) // of the memory, which is nobody's then
	proctest.Must(t, err)
	proctest.Must(t, seg.Close())
	t.Cleanup(func() {
		gift.Sent()
		keep.Close()
	})
	return handle, func() inherit.Segment {
		mem, err := sys.Reopen(keep)
		proctest.Must(t, err)
		return inherit.Segment{UUID: gift.UUID, Owner: gift.Owner, Memory: mem, Alive: dup(t, gift.Alive)}
	}
}

func answer(t *testing.T, ask func(inherit.UUID) (inherit.Segment, error)) {
	inherit.SetAsk(ask)
	t.Cleanup(func() { inherit.SetAsk(nil) })
}

// Whatever others answer that is not what was asked for is an error, and nothing of it stays.
func TestWrongAnswers(t *testing.T) {
	handle, give := foreign(t)
	for what, change := range map[string]func(s *inherit.Segment){
		"another segment": func(s *inherit.Segment) { s.UUID[3]++ },
		"nobody":          func(s *inherit.Segment) { s.Owner = 0 },
		"who is dead":     func(s *inherit.Segment) { s.Owner += generation },
		"no memory": func(s *inherit.Segment) {
			s.Memory.Close()
			s.Memory = dup(t, os.Stdin)
		},
	} {
		var s inherit.Segment
		answer(t, func(inherit.UUID) (inherit.Segment, error) {
			s = give()
			change(&s)
			return s, nil
		})
		if err := new(shm.Block).UnmarshalBinary(handle); !errors.Is(err, shm.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", what, err)
		}
		if s.Memory.Close() == nil || s.Alive.Close() == nil {
			t.Errorf("%s: descriptors stay", what)
		}
	}

	// A participant whose byte nobody has locked.
	answer(t, func(inherit.UUID) (inherit.Segment, error) {
		s := give()
		return s, sys.UnlockBytes(s.Alive, shm.LockAt(s.Owner), 2)
	})
	if err := new(shm.Block).UnmarshalBinary(handle); !errors.Is(err, shm.ErrCorrupt) {
		t.Errorf("a life that is not there: %v, want ErrCorrupt", err)
	}
}

// Many who want a segment ask for it once, get the same, and ask again when the answer was an error.
func TestAskedOnce(t *testing.T) {
	handle, give := foreign(t)
	var asked atomic.Int32
	failed := errors.New("not today")
	answer(t, func(inherit.UUID) (inherit.Segment, error) {
		asked.Add(1)
		return inherit.Segment{}, failed
	})
	for range 2 {
		if err := new(shm.Block).UnmarshalBinary(handle); !errors.Is(err, shm.ErrUnreachable) || !errors.Is(err, failed) {
			t.Errorf("%v, want ErrUnreachable and why", err)
		}
	}
	const n = 20
	begin := make(chan struct{})
	answer(t, func(inherit.UUID) (inherit.Segment, error) {
		asked.Add(1)
		<-begin
		return give(), nil
	})
	var group sync.WaitGroup
	blocks := make([]shm.Block, n)
	for i := range blocks {
		group.Go(func() {
			if err := blocks[i].UnmarshalBinary(handle); err != nil {
				t.Error(err)
			}
		})
	}
	close(begin)
	group.Wait()
	if got := asked.Load(); got != 3 {
		t.Errorf("asked %d times, want twice in vain and once", got)
	}
	seg := blocks[0].Segment()
	for i := range blocks {
		if blocks[i].Segment() != seg {
			t.Errorf("block %d is in another Segment", i)
		}
	}
	proctest.Must(t, seg.Close())
}

// A process takes part once in a segment whose name it opens while it asks others for it.
func TestAskedAndOpened(t *testing.T) {
	seg, name := named(t, 1)
	handle, err := block(t, seg, "", 64).MarshalBinary()
	proctest.Must(t, err)
	gift, err := seg.Prepare()
	proctest.Must(t, err)
	proctest.Must(t, seg.Close())
	var opened *shm.Segment
	answer(t, func(inherit.UUID) (inherit.Segment, error) {
		if opened, err = shm.Open(name); err != nil {
			gift.Abandon()
			return inherit.Segment{}, err
		}
		return gift.Segment, nil
	})
	var b shm.Block
	proctest.Must(t, b.UnmarshalBinary(handle))
	defer b.Segment().Close()
	defer opened.Close()
	if b.Segment().Self() != opened.Self() || opened.Info().Living != 1 {
		t.Errorf("participants %#x and %#x: %+v", b.Segment().Self(), opened.Self(), opened.Info())
	}
}
