package robust

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/sys"
)

// Recorder is a Peers that shows others who waits, for people to see; a *shm.Segment is one.
type Recorder interface {
	// Waiting records that a goroutine of this process waits for the object whose payload begins with word,
	// until done is called; done is nil if there is no room for a record. tag is the number
	// of the Holder that waits, 0: the lock is not recursive.
	Waiting(word *atomic.Uint32, since time.Time, tag uint64) (done func())
}

// noteAfter is how long a wait has lasted when it is recorded: as long as the first part of a sleep (package
// parking), so that waits that are over in it cost nothing more.
const noteAfter = 5 * time.Millisecond

// Sleeper is what may sleep in a Waiting.
type Sleeper interface {
	// Over tells whether there is something else to do (package parking).
	Over() bool
}

// Waiting is one goroutine's wait: it is recorded when it has lasted for some milliseconds, if the peers are
// a Recorder. A wait in line behind others of this process may not be, until it comes first: those before it have
// been.
type Waiting struct {
	peers   Peers
	word    *atomic.Uint32
	tag     uint64
	sleeper Sleeper
	since   int64 // sys.Monotonic

	// Over is what package parking is to ask.
	Over func() bool

	mu    sync.Mutex // Over may be asked by several goroutines
	noted bool
	done  func()
}

var waitings = sync.Pool{New: func() any {
	w := new(Waiting)
	w.Over = w.over
	return w
}}

// NewWaiting begins a wait, which End ends, for the object whose payload begins with word; tag is as for
// Recorder.
func NewWaiting(peers Peers, word *atomic.Uint32, tag uint64, s Sleeper) *Waiting {
	w := waitings.Get().(*Waiting)
	w.peers, w.word, w.tag, w.sleeper, w.since = peers, word, tag, s, sys.Monotonic()
	return w
}

func (w *Waiting) over() bool {
	w.Note()
	return w.sleeper.Over()
}

// Note records the wait if it has lasted long enough. It is called before each sleep, too, because of waits that are
// many short sleeps.
func (w *Waiting) Note() {
	if crashpoint.Enabled { // steps are counted, and how long a wait lasts is chance
		return
	}
	lasted := time.Duration(sys.Monotonic() - w.since)
	if lasted < noteAfter {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.noted {
		return
	}
	w.noted = true
	if r, ok := w.peers.(Recorder); ok {
		w.done = r.Waiting(w.word, time.Now().Add(-lasted), w.tag)
	}
}

// End takes the record away. Nobody asks Over any more.
func (w *Waiting) End() {
	if w.done != nil {
		w.done()
	}
	w.peers, w.word, w.sleeper, w.noted, w.done = nil, nil, nil, false, nil
	waitings.Put(w)
}
