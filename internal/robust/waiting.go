package robust

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/parking"
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

// Waiting is one goroutine's wait for a word, in line with others of this process. Most end in a nap, so until then
// it is nothing but this value. It is recorded when it has lasted for some milliseconds, if the peers are a Recorder. A wait
// in line behind others may not be, until it comes first: those before it have been.
type Waiting struct {
	peers   Peers
	word    *atomic.Uint32 // what it sleeps on
	object  *atomic.Uint32
	tag     uint64
	line    uint64
	sleeper Sleeper
	place   *parking.Place
	naps    int
	since   int64     // sys.Monotonic; 0 at first
	long    *longWait // nil at first
}

// longWait is the part of a Waiting that others may ask.
type longWait struct {
	peers   Peers
	object  *atomic.Uint32
	tag     uint64
	sleeper Sleeper
	since   int64 // sys.Monotonic

	over func() bool // ask

	mu    sync.Mutex // over may be called by several goroutines
	noted atomic.Bool
	done  func()
}

var longWaits = sync.Pool{New: func() any {
	w := new(longWait)
	w.over = w.ask
	return w
}}

// NewWaiting begins a wait, which End ends, on word, for the object whose payload begins with object, in the given line
// (package parking) of this process; tag is as for Recorder.
func NewWaiting(peers Peers, word, object *atomic.Uint32, tag, line uint64, s Sleeper) Waiting {
	return Waiting{peers: peers, word: word, object: object, tag: tag, line: line, sleeper: s}
}

// Line waits until nobody else of this process is before this goroutine. Unless it says to go on, the caller is to look
// whether there is something else to do. The error is ctx's.
func (w *Waiting) Line(ctx context.Context) (on bool, err error) {
	if w.place != nil {
		return true, nil
	}
	if w.place = parking.First(w.word, w.line); w.place != nil {
		return true, nil
	}
	w.lengthen(sys.Monotonic())
	w.place, err = parking.Enter(ctx, w.word, w.line, w.long.over)
	return false, err
}

// napsInARow is how many naps end without Nap saying that it is time to ask whether others live.
const napsInARow = 64

// Nap is the first part of a sleep while the word is old. It reports whether to look again; if not, Sleep is to follow. It
// records, too, because of waits that are many naps.
func (w *Waiting) Nap(ctx context.Context, old uint32) bool {
	w.naps++
	if ctx.Err() != nil {
		return false
	}
	now := sys.Monotonic()
	if w.since == 0 {
		w.since = now
	}
	if time.Duration(now-w.since) >= noteAfter {
		w.lengthen(now)
		w.long.note()
	}
	return parking.Nap(ctx, w.word, old) && w.naps%napsInARow != 0
}

// Sleep is the rest of it. The error is ctx's.
func (w *Waiting) Sleep(ctx context.Context, old uint32) error {
	w.lengthen(sys.Monotonic())
	w.long.note()
	return parking.Sleep(ctx, w.word, old, w.long.over)
}

// Slept reports whether there was a Nap.
func (w *Waiting) Slept() bool { return w.naps != 0 }

// lengthen makes the wait a long one, which began now if it had not yet.
func (w *Waiting) lengthen(now int64) {
	if w.since == 0 {
		w.since = now
	}
	if w.long == nil {
		l := longWaits.Get().(*longWait)
		l.peers, l.object, l.tag, l.sleeper, l.since = w.peers, w.object, w.tag, w.sleeper, w.since
		w.long = l
	}
}

// End takes the record away, and lets the next in line go on. Nobody asks the Sleeper any more.
func (w *Waiting) End() {
	if w.place != nil {
		w.place.Leave()
	}
	if w.long != nil {
		w.long.end()
	}
}

func (l *longWait) ask() bool {
	l.note()
	return l.sleeper.Over()
}

// note records the wait if it has lasted long enough.
func (l *longWait) note() {
	if l.noted.Load() || crashpoint.Enabled { // steps are counted, and how long a wait lasts is chance
		return
	}
	lasted := time.Duration(sys.Monotonic() - l.since)
	if lasted < noteAfter {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.noted.Swap(true) {
		return
	}
	if r, ok := l.peers.(Recorder); ok {
		l.done = r.Waiting(l.object, time.Now().Add(-lasted), l.tag)
	}
}

func (l *longWait) end() {
	if l.done != nil {
		l.done()
	}
	l.peers, l.object, l.sleeper, l.done = nil, nil, nil, nil
	l.noted.Store(false)
	longWaits.Put(l)
}
