// Package inherit passes segments from a process to a child it starts.
//
// A child cannot open an anonymous segment by name, and it must hold what it was given before its first
// instruction runs. So the parent prepares both: the memory's descriptor, and a participant (package shm)
// whose liveness lock is already held on a description opened for nothing else. Package process carries the
// descriptors over exec and puts them here; package shm takes them when the first handle of the segment
// arrives.
package inherit

import (
	"os"
	"sync"
)

// UUID identifies a segment.
type UUID = [16]byte

// Segment is one segment that the parent handed over.
type Segment struct {
	UUID   UUID
	Owner  uint32   // this process's owner id in the segment, claimed by the parent
	Memory *os.File // to be mapped
	Alive  *os.File // the description that holds the lock of Owner; opened for nothing else
}

// Gift is a Segment on its way to a child. The parent calls Sent once the child has its copies of the
// descriptors, or Abandon when it was not started.
type Gift struct {
	Segment
	abandon func()
}

// NewGift is for package shm; abandon gives the participant back.
func NewGift(s Segment, abandon func()) *Gift { return &Gift{s, abandon} }

// Sent closes the parent's copies of the descriptors.
func (g *Gift) Sent() {
	g.Alive.Close()
	g.Memory.Close()
}

// Abandon gives the participant back: the child does not exist.
func (g *Gift) Abandon() { g.abandon() }

var table struct {
	sync.Mutex
	segments map[UUID]Segment
}

// Put records what the parent gave. process.Init calls it, before anything asks.
func Put(s Segment) {
	table.Lock()
	defer table.Unlock()
	if table.segments == nil {
		table.segments = make(map[UUID]Segment)
	}
	table.segments[s.UUID] = s
}

// Take removes and returns the segment with that UUID: a participant can be adopted once.
func Take(id UUID) (Segment, bool) {
	table.Lock()
	defer table.Unlock()
	s, ok := table.segments[id]
	delete(table.segments, id)
	return s, ok
}

// Reset closes and forgets what nobody took.
func Reset() {
	table.Lock()
	defer table.Unlock()
	for _, s := range table.segments {
		s.Memory.Close()
		s.Alive.Close()
	}
	table.segments = nil
}
