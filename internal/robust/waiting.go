package robust

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
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

// Waiting is one goroutine's wait: it is recorded when it has lasted for some milliseconds, if the peers are
// a Recorder. A wait in line behind others of this process is not, until it comes first: those before it have
// been.
type Waiting struct {
	peers Peers
	word  *atomic.Uint32
	tag   uint64
	over  func() bool
	since time.Time

	mu    sync.Mutex // Over may be asked by several goroutines
	noted bool
	done  func()
}

// NewWaiting begins a wait, which End ends, for the object whose payload begins with word; tag is as for
// Recorder, and over tells whether there is something else to do (package parking).
func NewWaiting(peers Peers, word *atomic.Uint32, tag uint64, over func() bool) *Waiting {
	return &Waiting{peers: peers, word: word, tag: tag, over: over, since: time.Now()}
}

// Over is what parking.Wait is to ask.
func (w *Waiting) Over() bool {
	w.Note()
	return w.over()
}

// Note records the wait if it has lasted long enough. It is called before each sleep, too, because of waits
// that are many short sleeps.
func (w *Waiting) Note() {
	if crashpoint.Enabled || time.Since(w.since) < noteAfter { // steps are counted, and how long a wait lasts is chance
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.noted {
		return
	}
	w.noted = true
	if r, ok := w.peers.(Recorder); ok {
		w.done = r.Waiting(w.word, w.since, w.tag)
	}
}

// End takes the record away.
func (w *Waiting) End() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.noted = true
	if w.done != nil {
		w.done()
	}
}
