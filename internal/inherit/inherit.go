// Package inherit passes segments from a process to a child it starts.
//
// A child cannot open an anonymous segment by name, and it must hold what it was given before its first
// instruction runs. So the parent prepares both: the memory's descriptor, and a participant (package shm)
// whose liveness lock is already held on a description opened for nothing else. Package process carries the
// descriptors over exec and puts them here; package shm takes them when the first handle of the segment
// arrives. For a segment that was not handed over, shm asks here, and process asks the relatives of this process.
package inherit

import (
	"errors"
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

// Gift is a Segment on its way to a child, or another relative. The giver calls Sent once the other has its copies
// of the descriptors, or Abandon when it will not get any.
type Gift struct {
	Segment
	abandon func()
}

// NewGift is for package shm; abandon gives the participant back.
func NewGift(s Segment, abandon func()) *Gift { return &Gift{s, abandon} }

// Sent closes the giver's copies of the descriptors.
func (g *Gift) Sent() {
	g.Alive.Close()
	g.Memory.Close()
}

// Before has f called first when the gift is abandoned.
func (g *Gift) Before(f func()) {
	abandon := g.abandon
	g.abandon = func() {
		f()
		abandon()
	}
}

// Abandon gives the participant back: nobody is it.
func (g *Gift) Abandon() { g.abandon() }

var table struct {
	sync.Mutex
	segments map[UUID]Segment
	ask      func(UUID) (Segment, error)
}

// SetAsk says how this process asks others for a segment; process.Init does so, once. What the function returns is
// like what the parent handed over.
func SetAsk(ask func(UUID) (Segment, error)) {
	table.Lock()
	defer table.Unlock()
	table.ask = ask
}

// errNobody is the error of a process that belongs to no tree of processes.
var errNobody = errors.New("there is nobody to ask")

// Ask asks others for a segment, and may wait some seconds for their answer. The error says why there was none.
func Ask(id UUID) (Segment, error) {
	table.Lock()
	ask := table.ask
	table.Unlock()
	if ask == nil {
		return Segment{}, errNobody
	}
	return ask(id)
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

// Reset closes and forgets what nobody took, and whom to ask.
func Reset() {
	table.Lock()
	defer table.Unlock()
	for _, s := range table.segments {
		s.Memory.Close()
		s.Alive.Close()
	}
	table.segments, table.ask = nil, nil
}
