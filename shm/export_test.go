package shm

import (
	"os"
	"reflect"
	"runtime"
	"sync/atomic"
	"weak"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/sys"
)

// The types and places of the format.
var (
	HeaderType = reflect.TypeFor[header]()
	SlotType   = reflect.TypeFor[slot]()
	ObjectType = reflect.TypeFor[object]()
	WaitType   = reflect.TypeFor[waitEntry]()
)

const (
	DirAt    = dirAt
	HintsAt  = hintsAt
	SlotsAt  = slotsAt
	HeapAt   = heapAt
	LockBase = lockBase
)

// BucketAt is where the bucket of a name is.
func BucketAt(name string) int { return dirAt + 8*int(bucketOf(name)) }

// Memory is the whole segment, for those who play the vandal.
func Memory(s *Segment) []byte { return s.memory }

// Word is the word of 64 bits at an offset.
func Word(s *Segment, off uint64) *atomic.Uint64 { return s.word(off) }

// TakeOver moves the life of a participant to a description of the caller's own, as a child does.
var TakeOver = takeOver

// LockAt is the first byte of an owner id.
var LockAt = lockAt

// Life is the description that this process's life in s is bound to.
func Life(s *Segment) *os.File { return s.res.alive }

// File is the description that is mapped.
func File(s *Segment) *os.File { return s.file }

// ForceNoWaitv, ForceNoPidfd, ForceNoBlocking and ForceNoTicks make the watch do without, until the function that they
// return is called.
func ForceNoWaitv() (undo func())    { return force(&watch.noWaitv) }
func ForceNoPidfd() (undo func())    { return force(&watch.noPidfd) }
func ForceNoBlocking() (undo func()) { return force(&watch.noBlocking) }
func ForceNoEnds() (undo func())     { return force(&watch.noEnds) }
func ForceNoTicks() (undo func())    { return force(&watch.noTicks) }

func force(b *atomic.Bool) (undo func()) {
	b.Store(true)
	return func() { b.Store(false) }
}

// Watched is whom this process watches in s, and how: "pidfd", "blocked" or "asked".
func Watched(s *Segment) (ids []uint32, how []string) {
	watch.mu.Lock()
	m := s.res.member
	watch.mu.Unlock()
	if m == nil {
		return nil, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range m.watched {
		ids = append(ids, w.id)
		switch {
		case w.pidfd != nil:
			how = append(how, "pidfd")
		case w.blocked:
			how = append(how, "blocked")
		default:
			how = append(how, "asked")
		}
	}
	return ids, how
}

// WatchSize is how many threads wait for segments, and how many for locks of bytes.
func WatchSize() (groups, blocked int) {
	watch.mu.Lock()
	defer watch.mu.Unlock()
	return len(watch.groups), len(watch.blocked)
}

// Look looks at s once, in the caller's goroutine, as the watch does.
func Look(s *Segment) {
	m := &member{r: s.res.resources, seg: weak.Make(s), uuid: s.uuid, group: new(group)}
	m.look(false, nil)
	m.keep(nil)
}

// Rewatch ends the watch over s and begins it anew.
func Rewatch(s *Segment) {
	watch.end(s.res.resources)
	watch.mu.Lock()
	s.res.ended = false
	watch.mu.Unlock()
	s.accompany()
}

// Unwatch ends the watch over s, for good.
func Unwatch(s *Segment) { watch.end(s.res.resources) }

// GroupSize is how many segments one thread watches.
const GroupSize = groupSize

// Guarded reports whether a thread of id has a guard in s, and MarkGuard marks it, as the kernel does when that ends.
func Guarded(s *Segment, id uint32) bool { return s.slot(id&slotMask).Guard.Load() != 0 }
func MarkGuard(s *Segment, id uint32) {
	g := &s.slot(id & slotMask).Guard
	was := g.Swap(sys.RobustDied)
	futex.Wake(g, 1)
	s.res.member.look(false, nil)
	g.Store(was)
}

// Ended reports whether the guard of this process in s is as the kernel left it, which marked it, also when this process begins
// or ends to watch another segment after that. The mark is taken away.
func Ended(s *Segment) bool {
	watch.mu.Lock()
	defer watch.mu.Unlock()
	g := &s.slot(s.self & slotMask).Guard
	was := g.Swap(sys.RobustDied | sys.RobustWaiters)
	s.res.member.group.guard()
	return g.Swap(was) == sys.RobustDied|sys.RobustWaiters
}

// Alone reports whether only this process has s. Succeed lets the participant in slot next live, and then marks that in
// slot last as dead, as one does who is killed before it counts that.
func Alone(s *Segment) bool { return s.alone(s.self) }
func Succeed(s *Segment, last, next uint32) {
	w := &s.slot(next).Word
	w.Store(nextGeneration(w.Load()) | slotLive)
	w = &s.slot(last).Word
	w.Store(w.Load()&^slotMask | slotDead)
}

// LeaveCut lets the calling thread, which is to end next, guard s and other, then other is cut off, and then the watch for
// s ends. marked reports whether the kernel looks at s all the same when the thread ends.
func LeaveCut(s, other *Segment, cut func()) (thread uint32, marked func() bool) {
	g := new(group)
	m := &member{r: s.res.resources, group: g}
	g.members = []*member{m, {r: other.res.resources, group: g}}
	g.guard()
	thread, _, err := g.list.Set()
	if err != nil {
		panic(err)
	}
	cut()
	watch.mu.Lock()
	m.drop()
	watch.mu.Unlock()
	guard := &s.slot(s.self & slotMask).Guard
	guard.Store(thread)
	return thread, func() bool {
		runtime.KeepAlive(g)
		return guard.Swap(0)&sys.RobustDied != 0
	}
}

// Introduce says who a participant is, and Ring tells those before it.
func Introduce(s *Segment, id uint32, pid int, space uint64) { s.introduce(id, pid, space) }
func Ring(s *Segment, id uint32)                             { s.ring(id) }

// Tick is a tick of the watch over s. It reports whether there is something to sweep.
func Tick(s *Segment) bool {
	m := s.res.member
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.choose(true)
}

// Died says that the end of id was seen in s.
func Died(s *Segment, id uint32) {
	watch.mu.Lock()
	m := s.res.member
	watch.mu.Unlock()
	m.died(id)
}

// As is s as the participant id sees it.
func As(s *Segment, id uint32) *Segment {
	c := &Segment{heap: s.heap, uuid: s.uuid, res: &share{resources: &resources{pins: make(map[uint64]int)}}}
	c.self, c.spare = id, newSpare(len(s.memory))
	return c
}

// Pin and Unpin open and close what is at an offset.
func Pin(s *Segment, off uint64) error { return s.pin(off) }

func Unpin(s *Segment, off uint64) { s.unpin(off) }

// Pinned is how many objects s has open.
func Pinned(s *Segment) int {
	s.res.mu.Lock()
	defer s.res.mu.Unlock()
	return len(s.res.pins)
}

// Spill gives all that the process keeps.
func Spill(s *Segment) { s.giveAll() }

// Tidy sweeps up after those that are gone.
func Tidy(s *Segment) (int, error) { return s.tidy(false) }

// TidySoon sweeps up in the background and returns once that has begun.
func TidySoon(s *Segment) {
	for s.tidySoon(); s.tidying.Load(); {
		runtime.Gosched()
	}
}

// ClassOf and InClass are about sizes of blocks in units.
var (
	ClassOf = classOf
	InClass = inClass
	LeastOf = leastOf
)

// PayloadAt is where the payload of an object is.
func PayloadAt(h Handle) uint64 { return h.Offset + objectHead }

// UUID is the identity of a segment.
func UUID(s *Segment) [16]byte { return s.uuid }

// The ways in which a file gets its name, and the bytes that are locked meanwhile.
var Ways = []way{wayEmptyPath, wayProc, wayRename}

const (
	AttachByte = attachByte
	RemoveByte = removeByte
	MakeByte   = makeByte
	TempPrefix = tempPrefix
)

// CreateBy makes a segment in one way and in no other.
func CreateBy(w way, name string, size int) (*Segment, error) {
	return enterNamed("create", name, Options{}, func(p *place) (*Segment, error) { return p.createBy(size, Options{}, w) })
}

// Bury marks a participant as dead, as Close does of its own before anything else.
func Bury(s *Segment, id uint32) { s.bury(s.slot(id&slotMask), id&^slotMask|slotLive) }
