package ring

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/bits"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/internal/race"
)

// ErrTooLong is what Bytes.Err says after a record was refused that is longer than Bytes.Max.
var ErrTooLong = errors.New("ring: record too long")

// Bytes is a ring of records of any length, for many producers and one consumer, in any processes.
//
// TryWrite and Reserve, and Commit and Abort of what Reserve gave, may be called from any goroutine of any process
// at any time. The consumer's end belongs to one handle in one process, as an end of an SPSC does: from its first
// Next (or Consume) until Close or the death of the process. Consume, Next and Advance are for one goroutine at a
// time. They may run beside the producers' methods; Close beside none. Cap, Max and Err may be called from anywhere.
//
// Records come out in the order in which they were claimed: by TryWrite, or by Reserve. Their bytes lie in one
// piece, at a multiple of 8, and are written and read in place.
//
// Claiming is lock-free: a claim is tried again only when another one has succeeded. Commit, Abort, Next and Advance
// are wait-free. What a process holds up that stops or dies with a record that it has claimed and not finished:
//
//   - One that is stopped holds up the records behind that, which Next does not give before it. Others may claim
//     and commit as long as there is room.
//   - One that is killed holds up nothing: Next finds it dead and passes over the record. To close the handle is
//     the same; a Commit after that does nothing. To close the segment (a Peers) is the same for the others; a Commit
//     after that does nothing once Next has passed over the record.
//   - A consumer that is killed leaves the record that it has in hand to the next, who gets it again.
//
// So a process that closes the handle or the segment must not be writing to what it has reserved, nor be in TryWrite:
// the room may be another record's from then on. And the consumer must be in none of its methods.
//
// A record that is reserved and then forgotten is as one of a stopped process. At most 128 handles write to one
// ring at a time; for more TryWrite and Reserve fail and Err is ErrBusy, until another is closed or dies.
//
// What was written before a Commit, or TryWrite, happens before the Next that gives the record, and that Next
// before the claim that uses its room again; also across processes, in what both can reach. What was
// committed before a Next began that Next finds, if all before it is finished. A claim may find a ring full from which
// Advance has freed something a moment before.
//
// That records are found by descriptors beside the bytes, so that nothing has to be zeroed, is unlike the log
// buffers of M. Thompson's Aeron (https://github.com/aeron-io/aeron), whose position and length in one word it shares.
type Bytes struct {
	_      noCopy
	header *bytesHeader
	descriptors
	area []byte
	// How large they are was checked when the ring was opened and is never read again.
	room    uint64 // bytes of the area, a power of two
	lapBits int    // log2 of the number of descriptors
	tries   uint64 // how often a claim looks at a descriptor at most
	peers   Peers

	items, gone *race.Word // handed over by commits, and by what the consumer frees
	err         atomic.Pointer[error]
	tooLong     error

	// Producers of this process; several goroutines.
	_       [layout.CacheLine]byte
	hint    atomics.Pos // a position that is not beyond the next to claim
	noted   atomics.Pos // header.freed, as last seen
	joined  atomic.Pointer[membership]
	writing struct{ refused atomic.Pointer[error] }
	joining sync.Mutex

	// The consumer; one goroutine.
	_       [layout.CacheLine]byte
	at      uint64 // its position: what head says, but this is the original
	from    uint64 // the same in bytes: freed
	handed  bool   // Next has given the record at at, which ends at until
	until   uint64
	taken   bool   // that record was given before the end was found taken away
	mine    uint32 // the owner id that this handle wrote into the claim; 0 if it does not have the end
	spins   int    // how often Next looks again whether a record is finished before it asks whether that can be
	reading struct{ refused atomic.Pointer[error] }
	_       [layout.CacheLine]byte
}

// membership is the cell of a handle that writes.
type membership struct {
	cell *atomic.Uint64
	word uint64 // what the handle wrote there
	who  uint64 // index and generation, as words have them
}

// BytesSize is how many bytes a ring with room for n bytes needs. n is rounded up to a power of two, and at least
// 64. It is math.MaxInt if a ring cannot be so large: 16 GiB is the most.
func BytesSize(n int) int {
	_, _, bytes := bytesSpace(n)
	return bytes
}

// bytesSpace is the bytes of the area, the number of descriptors and the size of the whole for n bytes.
func bytesSpace(n int) (room, slots uint64, bytes int) {
	room = 1 << bits.Len64(uint64(max(n, minRoom)-1))
	slots = min(max(room/roomPerSlot, minSlots), maxSlots)
	whole := bytesHeaderSize + slots*descriptorSize + room
	if room > maxRoom || whole > math.MaxInt {
		return room, slots, math.MaxInt
	}
	return room, slots, int(whole)
}

// NewBytes lays a ring with room for n bytes, rounded up to a power of two, out in mem, which must be zeroed,
// aligned to 128 bytes and at least BytesSize(n) long. A record is at most an eighth of that long. It takes the
// next multiple of 8, at least 8; what does not lie in one piece before the end of the room goes to its beginning
// and leaves the rest unused meanwhile. And there may be one record for each 64 bytes of the room at a time,
// at least 16, and at most 65,536. The error is fs.ErrExist if there is a ring already.
func NewBytes(mem []byte, n int, peers Peers) (*Bytes, error) {
	if n < 1 {
		return nil, fmt.Errorf("ring: room for %d bytes", n)
	}
	room, slots, bytes := bytesSpace(n)
	if err := checkPlain(mem, bytes, peers); err != nil {
		return nil, err
	}
	h := bytesAt(mem)
	if h.magic.Load() != 0 { // PAIRS WITH NewBytes: store the magic
		return nil, fmt.Errorf("ring: in the memory given: %w", fs.ErrExist)
	}
	// All else is zero, as it has to be: every descriptor is EMPTY in lap 0, and the record before the first ends at 0.
	h.slots.Store(slots)
	h.room.Store(room)
	h.version.Store(bytesVersion)
	crashpoint.Hit("bytes/new/described")
	h.magic.Store(bytesMagic) // PAIRS WITH OpenBytes: load the magic
	return attachBytes(mem, room, slots, peers), nil
}

// OpenBytes finds the ring that NewBytes made in mem. The error is ErrKind if there is none, or one of another
// format version, and ErrCorrupt if what the ring says of itself cannot be true or does not fit into mem.
func OpenBytes(mem []byte, peers Peers) (*Bytes, error) {
	if err := checkPlain(mem, bytesHeaderSize, peers); err != nil {
		return nil, err
	}
	h := bytesAt(mem)
	if h.magic.Load() != bytesMagic { // PAIRS WITH NewBytes: store the magic
		return nil, fmt.Errorf("%w: no Bytes", ErrKind)
	}
	if v := h.version.Load(); v != bytesVersion {
		return nil, fmt.Errorf("%w: format version %d, not %d", ErrKind, v, bytesVersion)
	}
	room, slots := h.room.Load(), h.slots.Load()
	if room < minRoom || room > maxRoom || bits.OnesCount64(room) != 1 {
		return nil, fmt.Errorf("%w: room for %d bytes", ErrCorrupt, room)
	}
	if slots < minSlots || slots > maxSlots || bits.OnesCount64(slots) != 1 {
		return nil, fmt.Errorf("%w: %d descriptors", ErrCorrupt, slots)
	}
	if need := bytesHeaderSize + slots*descriptorSize + room; need > uint64(len(mem)) {
		return nil, fmt.Errorf("%w: %d bytes in memory of %d", ErrCorrupt, need, len(mem))
	}
	return attachBytes(mem, room, slots, peers), nil
}

// attachBytes makes a handle of the ring in mem, which has been checked.
func attachBytes(mem []byte, room, slots uint64, peers Peers) *Bytes {
	at := bytesHeaderSize + slots*descriptorSize
	r := &Bytes{
		header: bytesAt(mem), descriptors: descriptorsAt(mem, slots), area: mem[at : at+room : at+room], room: room,
		lapBits: bits.TrailingZeros64(slots), tries: 2*slots + 1024, peers: peers,
		tooLong: fmt.Errorf("%w: at most %d bytes", ErrTooLong, room/8),
	}
	r.items, r.gone = r.header.handOvers()
	if runtime.NumCPU() > 1 {
		r.spins = 16
	}
	r.hint.Publish(r.header.tail.Load()) // PAIRS WITH claim: publish the hint
	r.noted.Publish(r.header.freed.Load())
	return r
}

// TryWrite copies p in as one record and reports true. It reports false if there is no room, if p is longer than
// Max (then Err is ErrTooLong), or why Err says.
func (r *Bytes) TryWrite(p []byte) bool {
	t, w, place, ok := r.claim(len(p))
	if !ok {
		return false
	}
	copy(r.area[place:], p)
	return r.commit(t, w, len(p))
}

// Reserve gives room for a record of n bytes, whose place in the order of records is taken with that. It must be
// ended by Commit or Abort: until then no record behind it is read. Data contains anything. It is false when
// TryWrite would be.
func (r *Bytes) Reserve(n int) (Record, bool) {
	t, w, place, ok := r.claim(n)
	if !ok {
		return Record{}, false
	}
	end := r.slot(t).end.Load() // PAIRS WITH claim and endBefore: CAS the end, which was said before claim returned
	return Record{Data: r.area[place : place+uint64(n) : place+uint64(n)], ring: r, at: t, word: w, end: end, n: n}, true
}

// Record is room that Bytes.Reserve has claimed.
type Record struct {
	// Data is the room, of the length asked for. It may belong to another record after Commit, Abort, or Bytes.Close.
	Data []byte

	ring *Bytes
	at   uint64
	word uint64
	end  uint64
	n    int
}

// ended reports whether the record was passed over. Its word may be there again, since words have laps modulo 2,048,
// but ends never return.
func (c Record) ended() bool {
	return c.ring.slot(c.at).end.Load() != c.end // PAIRS WITH claim and endBefore: CAS the end of a later record
}

// Commit publishes the first n bytes of the record. It panics if n is negative or more than was reserved, in any case. A
// record that is ended already stays as it is; also if Bytes.Close, or the end of the process, has done that.
func (c Record) Commit(n int) {
	if c.ring == nil || n < 0 || n > c.n {
		panic(fmt.Sprintf("ring: Commit(%d) of a record of %d bytes", n, c.n))
	}
	// What was reserved before Close was aborted by that, though nobody may have passed over it yet.
	if c.ring.joined.Load() != nil && !c.ended() {
		c.ring.commit(c.at, c.word, n)
	}
}

// Abort gives the room back: there is no record. A record that is ended already stays as it is, so Abort may be deferred; that of
// the zero Record does nothing.
func (c Record) Abort() {
	if c.ring == nil {
		return
	}
	r := c.ring
	if c.ended() {
		return
	}
	r.items.Release()
	crashpoint.Hit("bytes/abort/written")
	r.slot(c.at).word.CompareAndSwap(c.word, c.word^stateClaimed^stateAborted) // PAIRS WITH Next: load the word
	crashpoint.Hit("bytes/abort/aborted")
}

// Cap is how many bytes there is room for, those included that make lengths multiples of 8.
func (r *Bytes) Cap() int { return len(r.area) }

// Max is how long a record can be.
func (r *Bytes) Max() int { return len(r.area) / 8 }

// Err is nil while all is well. It is ErrCorrupt from when this handle has found that shared bytes contradict
// themselves, os.ErrClosed after Close, or why the last record was refused (ErrTooLong, ErrBusy) or the last Next
// could not take the consumer's end (ErrBusy), until one is not. That there is no room, or no record, is no error.
func (r *Bytes) Err() error {
	for _, p := range []*error{r.err.Load(), r.writing.refused.Load(), r.reading.refused.Load()} {
		if p != nil {
			return *p
		}
	}
	return nil
}

// failure is why the handle cannot be used any more: corruption, or Close; else nil.
func (r *Bytes) failure() error {
	if p := r.err.Load(); p != nil {
		return *p
	}
	return nil
}

// corrupt notes that shared bytes contradict themselves.
func (r *Bytes) corrupt(format string, args ...any) {
	err := fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
	r.err.CompareAndSwap(nil, &err)
}

// refuse keeps why a call did nothing; only the first of many equal refusals allocates.
func refuse(where *atomic.Pointer[error], err error) {
	if p := where.Load(); p == nil || *p != err {
		kept := err
		where.Store(&kept)
	}
}

// Close gives the consumer's end to whoever asks for it next, with the record in hand, if this handle has it, and
// aborts the records that were reserved by this handle and are not committed. The ring and its records stay.
// Close may be called again, and always returns nil.
func (r *Bytes) Close() error {
	closed := os.ErrClosed
	r.err.Store(&closed)
	if r.mine != 0 {
		r.gone.Release()
		crashpoint.Hit("bytes/close/reading")
		r.header.consumer.CompareAndSwap(r.mine, 0) // PAIRS WITH take: load and CAS the claim
		r.mine = 0
	}
	r.handed = false
	crashpoint.Hit("bytes/close/read")
	r.leave()
	return nil
}
