package shm

import (
	"encoding/hex"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"weak"

	"github.com/shoal-ipc/shoal/internal/inherit"
	"github.com/shoal-ipc/shoal/internal/sys"
)

// table has the segments that this process has mapped: a handle that arrives finds its segment here, so that
// a process maps a segment, and takes part in it, once. A segment whose name was opened more than once has an
// entry for each time. An entry goes when the Segment is closed or unreachable.
var table segments

type segments struct {
	mu     sync.Mutex
	by     map[inherit.UUID][]entry
	asking map[inherit.UUID]*question
}

// question is one that others are being asked; who else wants to know waits for the answer.
type question struct {
	answered chan struct{} // closed when what follows is final
	s        *Segment
	err      error
}

type entry struct {
	weak weak.Pointer[Segment]
	// kept holds a segment that the parent handed over, which might not be mapped again once let go.
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

// have finds the segment with that UUID among those that are mapped, then among those that the parent handed over;
// nil if it is not there. mu is held.
func (t *segments) have(id inherit.UUID) (*Segment, error) {
	if s := t.find(id); s != nil {
		return s, nil
	}
	in, ok := inherit.Take(id)
	if !ok {
		return nil, nil
	}
	s, err := adopt(in)
	if err == nil {
		t.add(s, true)
	}
	return s, err
}

// resolve finds the segment with that UUID: in this process, then by asking others, once for all who want it at a
// time, then by its name if it has one. What was got that way may be got again, and is let go like a segment of this
// process's own.
func (t *segments) resolve(id inherit.UUID, name string) (*Segment, error) {
	if err := forked(); err != nil {
		return nil, err
	}
	t.mu.Lock()
	if s, err := t.have(id); s != nil || err != nil {
		t.mu.Unlock()
		return s, err
	}
	q, ok := t.asking[id]
	if ok {
		t.mu.Unlock()
		<-q.answered
		return q.s, q.err
	}
	q = &question{answered: make(chan struct{})}
	if t.asking == nil {
		t.asking = make(map[inherit.UUID]*question)
	}
	t.asking[id] = q
	t.mu.Unlock()

	q.s, q.err = t.ask(id, name)

	t.mu.Lock()
	delete(t.asking, id)
	t.mu.Unlock()
	close(q.answered)
	return q.s, q.err
}

// ask gets the segment from another process, or by its name.
func (t *segments) ask(id inherit.UUID, name string) (*Segment, error) {
	in, err := inherit.Ask(id)
	switch {
	case err == nil:
		s, err := adopt(in)
		if err != nil {
			return nil, err
		}
		t.mu.Lock()
		other := t.find(id)
		if other == nil {
			t.add(s, false)
		}
		t.mu.Unlock()
		if other != nil { // its name was opened meanwhile, and this process takes part once
			s.Close()
			return other, nil
		}
		return s, nil
	case name != "":
		s, e := openNamed(name, id)
		if e == nil {
			return s, nil
		}
		return nil, fmt.Errorf("%w; %w", e, err)
	}
	return nil, fmt.Errorf("%w: segment %s, whose name is not known: %w", ErrUnreachable, hex.EncodeToString(id[:]), err)
}

// PrepareFor is Prepare of the segment with that UUID, for a process that asks for it; nil if this process does not
// have it. It is for package process.
func PrepareFor(id inherit.UUID) (*inherit.Gift, error) {
	if err := forked(); err != nil {
		return nil, err
	}
	table.mu.Lock()
	s, err := table.have(id)
	table.mu.Unlock()
	if s == nil || err != nil {
		return nil, err
	}
	return s.Prepare()
}

// forked is ErrForked in a forked process, which lets go of what would keep its parent alive.
func forked() error {
	if !sys.Forked() {
		return nil
	}
	if table.mu.TryLock() { // another thread, which there is no more, may have had it
		defer table.mu.Unlock()
		for _, entries := range table.by {
			for _, e := range entries {
				if s := e.weak.Value(); s != nil {
					s.res.leave()
				}
			}
		}
	}
	return ErrForked
}
