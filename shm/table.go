package shm

import (
	"encoding/hex"
	"fmt"
	"runtime"
	"sync"
	"weak"

	"github.com/shoal-ipc/shoal/internal/inherit"
	"github.com/shoal-ipc/shoal/internal/sys"
)

// table has the segments that this process has mapped: a handle that arrives finds its segment here, so that
// a process maps a segment, and takes part in it, once. An entry goes when the Segment is closed or
// unreachable.
var table segments

type segments struct {
	mu     sync.Mutex
	by     map[inherit.UUID]entry
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

// have finds the segment with that UUID among those that are mapped, then among those that the parent handed over;
// nil if it is not there. mu is held.
func (t *segments) have(id inherit.UUID) (*Segment, error) {
	if s := t.by[id].weak.Value(); s != nil {
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
// time. What was got that way may be asked for again, and is let go like a segment of this process's own.
func (t *segments) resolve(id inherit.UUID) (*Segment, error) {
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

	if in, err := inherit.Ask(id); err == nil {
		q.s, q.err = adopt(in)
	} else {
		q.err = fmt.Errorf("%w: anonymous segment %s: %w", ErrUnreachable, hex.EncodeToString(id[:]), err)
	}

	t.mu.Lock()
	if q.err == nil {
		t.add(q.s, false)
	}
	delete(t.asking, id)
	t.mu.Unlock()
	close(q.answered)
	return q.s, q.err
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
		for _, e := range table.by {
			if s := e.weak.Value(); s != nil {
				s.res.leave()
			}
		}
	}
	return ErrForked
}
