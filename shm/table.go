package shm

import (
	"encoding/hex"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"weak"

	"github.com/shoal-ipc/shoal/internal/inherit"
)

// table has the segments that this process has mapped: a handle that arrives finds its segment here, so that
// a process maps a segment, and takes part in it, once. A segment whose name was opened more than once has an
// entry for each time. An entry goes when the Segment is closed or unreachable.
var table segments

type segments struct {
	mu sync.Mutex
	by map[inherit.UUID][]entry
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
		t.by = make(map[inherit.UUID][]entry)
	}
	t.by[s.uuid] = append(t.by[s.uuid], e)
	runtime.AddCleanup(s, func(id inherit.UUID) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.drop(id, ref)
	}, s.uuid)
}

func (t *segments) remove(s *Segment) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(s.uuid, weak.Make(s))
}

// drop takes an entry out; mu is held.
func (t *segments) drop(id inherit.UUID, ref weak.Pointer[Segment]) {
	left := slices.DeleteFunc(t.by[id], func(e entry) bool { return e.weak == ref })
	if len(left) == 0 {
		delete(t.by, id)
		return
	}
	t.by[id] = left
}

// find is a Segment of the segment id, nil if this process has none; mu is held.
func (t *segments) find(id inherit.UUID) *Segment {
	for _, e := range t.by[id] {
		if s := e.weak.Value(); s != nil && !s.closed.Load() {
			return s
		}
	}
	return nil
}

// resolve finds the segment with that UUID: among those that are mapped, then among those that the parent
// handed over, then by its name if it has one.
func (t *segments) resolve(id inherit.UUID, name string) (*Segment, error) {
	s, err := t.resolveHere(id)
	if s != nil || err != nil {
		return s, err
	}
	if name != "" {
		return openNamed(name, id)
	}
	return nil, fmt.Errorf("%w: anonymous segment %s", ErrUnreachable, hex.EncodeToString(id[:]))
}

// resolveHere finds what this process has; nil if it has nothing.
func (t *segments) resolveHere(id inherit.UUID) (*Segment, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.find(id); s != nil {
		return s, nil
	}
	if in, ok := inherit.Take(id); ok {
		s, err := adopt(in)
		if err == nil {
			t.add(s, true)
		}
		return s, err
	}
	return nil, nil
}
