package shm

import (
	"encoding/hex"
	"fmt"
	"runtime"
	"sync"
	"weak"

	"github.com/shoal-ipc/shoal/internal/inherit"
)

// table has the segments that this process has mapped: a handle that arrives finds its segment here, so that
// a process maps a segment, and takes part in it, once. An entry goes when the Segment is closed or
// unreachable.
var table segments

type segments struct {
	mu sync.Mutex
	by map[inherit.UUID]entry
}

type entry struct {
	weak weak.Pointer[Segment]
	// kept holds a segment that the parent handed over, which could not be mapped again once let go.
	kept *Segment
}

// add enters s; mu is held.
func (t *segments) add(s *Segment, keep bool) {
	ref := weak.Make(s)
	e := entry{weak: ref}
	if keep {
		e.kept = s
	}
	if t.by == nil {
		t.by = make(map[inherit.UUID]entry)
	}
	t.by[s.uuid] = e
	runtime.AddCleanup(s, func(id inherit.UUID) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.by[id].weak == ref {
			delete(t.by, id)
		}
	}, s.uuid)
}

func (t *segments) remove(s *Segment) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by[s.uuid].weak.Value() == s {
		delete(t.by, s.uuid)
	}
}

// resolve finds the segment with that UUID: among those that are mapped, then among those that the parent
// handed over.
func (t *segments) resolve(id inherit.UUID) (*Segment, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.by[id].weak.Value(); s != nil {
		return s, nil
	}
	if in, ok := inherit.Take(id); ok {
		s, err := adopt(in)
		if err == nil {
			t.add(s, true)
		}
		return s, err
	}
	return nil, fmt.Errorf("%w: anonymous segment %s", ErrUnreachable, hex.EncodeToString(id[:]))
}
