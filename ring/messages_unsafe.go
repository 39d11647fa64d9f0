package ring

import (
	"fmt"
	"runtime"
	"structs"
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
)

// message is what the block of a message begins with; its bytes follow.
type message struct {
	_      structs.HostLayout
	length uint32
	kind   uint32
}

const messageHead = 8

var (
	_ [messageHead]struct{} = [unsafe.Sizeof(message{})]struct{}{}
	_ [0]struct{}           = [unsafe.Offsetof(message{}.length)]struct{}{}
	_ [4]struct{}           = [unsafe.Offsetof(message{}.kind)]struct{}{}
)

// bytesOf are n bytes of the message in block b; both were checked.
func (r *Messages) bytesOf(b uint64, n int) []byte {
	if n == 0 { // behind the head of the last block may be the end of the memory
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Add(r.block(b), messageHead)), n)
}

// TryPush appends a message and reports true, or reports false if the ring is full or was ended, or for a reason that Err
// tells. One of more than Size bytes is for the programmer to avoid: it panics.
func (r *Messages) TryPush(kind uint32, b []byte) bool {
	if len(b) > r.most {
		panic(fmt.Sprintf("ring: message of %d bytes in a ring of %d", len(b), r.most))
	}
	c := r.take()
	if c == nil {
		return false
	}
	*(*message)(r.block(c.block)) = message{length: uint32(len(b)), kind: kind}
	copy(r.bytesOf(c.block, len(b)), b)
	if crashpoint.Enabled {
		crashpoint.Hit("ring/mpmc/push/written")
	}
	ok := r.pushBlock(c)
	r.done(c)
	runtime.KeepAlive(r)
	return ok
}

// TryPop takes the oldest message and appends its bytes to dst, or reports false if the ring is empty, or for a reason that Err
// tells.
func (r *Messages) TryPop(dst []byte) (kind uint32, b []byte, ok bool) {
	for {
		kind, b, t, ok := r.Peek(dst)
		if !ok {
			return 0, dst, false
		}
		if crashpoint.Enabled {
			crashpoint.Hit("ring/mpmc/pop/copied")
		}
		if r.Take(t) {
			return kind, b, true
		}
		if !r.usable() || !r.lost(t.position, t.word) {
			return 0, dst, false
		}
	}
}

// Peek appends the bytes of the oldest message to dst, and leaves it in the ring. What it returns is true if Take of the ticket
// succeeds; else another consumer has taken that message, perhaps before it was looked at, and it may be of any bytes.
func (r *Messages) Peek(dst []byte) (kind uint32, b []byte, t Ticket, ok bool) {
	if !r.usable() {
		return 0, dst, t, false
	}
	p := r.headGuess.Load()
	for {
		w := r.slot(p).Load() // PAIRS WITH pushBlock: CAS the slot
		switch d := r.past(w, p); {
		case d == filled*int64(r.full):
			n := w & r.index
			if n >= r.number {
				return 0, dst, t, r.corrupt("slot", w, p)
			}
			m := *(*message)(r.block(n)) // whoever writes over it, it is read once
			if uint64(m.length) > uint64(r.most) {
				if r.slot(p).Load() != w {
					continue // it was taken, and is being written over
				}
				return 0, dst, t, r.corrupt("length of a message", uint64(m.length), p)
			}
			b = append(dst, r.bytesOf(n, int(m.length))...)
			r.headGuess.Publish(p)
			r.items.Acquire() // also for who acts on what it says, and finds it taken then
			runtime.KeepAlive(r)
			return m.kind, b, Ticket{p, w}, true
		case d == 0: // all before p are popped, p is not filled
			r.headGuess.Publish(p)
			r.seen(w)
			return 0, dst, t, false
		case d < 0:
			return 0, dst, t, r.corrupt("slot", w, p)
		}
		p = r.seek(p, popped*r.full)
	}
}

// Still reports whether the message that Peek returned with the ticket is in the ring yet: then what Peek returned is what was pushed,
// all of it, as it is after a Take that succeeds. It is for who does something with it before that.
func (r *Messages) Still(t Ticket) bool {
	// Only a store is certain to come after the loads of the copy, so the word is stored as it is.
	ok := t.word&r.full != 0 && r.slot(t.position).CompareAndSwap(t.word, t.word) // PAIRS WITH pushBlock: load and CAS the slot
	if ok {
		r.items.Acquire()
	}
	runtime.KeepAlive(r)
	return ok
}

// Take takes the message that Peek returned with the ticket, and reports whether it was this call that did. With the zero Ticket
// it takes nothing.
func (r *Messages) Take(t Ticket) bool {
	if t.word&r.full == 0 || !r.usable() { // a word without FULL would become one of a message that nobody pushed
		return false
	}
	r.room.Release()
	ok := r.slot(t.position).CompareAndSwap(t.word, t.word+r.full) // PAIRS WITH pushBlock: load and CAS the slot
	if ok {
		r.items.Acquire()
		if crashpoint.Enabled {
			crashpoint.Hit("ring/mpmc/pop/taken")
		}
		if r.headGuess.Load() == t.position { // it may be another handle's, which counts from elsewhere after 2^55 messages
			r.headGuess.Publish(t.position + 1)
		}
	}
	runtime.KeepAlive(r)
	return ok
}

// EachMessage calls f for the messages in the ring that NewMessages made in mem, in any order, for who recovers what they refer to.
// One that others pop or push meanwhile may be among them or not, and be of any bytes; one that is there all the time is among
// them. f must not keep b. The errors are those of OpenMPMC.
func EachMessage(mem []byte, f func(kind uint32, b []byte)) error {
	r, err := OpenMessages(mem, nobody{})
	if err != nil {
		return err
	}
	var copied []byte
	for i := range r.mask + 1 {
		w := r.slot(i).Load() // PAIRS WITH pushBlock: CAS the slot
		n := w & r.index
		if w&r.full == 0 || n >= r.number {
			continue
		}
		m := *(*message)(r.block(n))
		if uint64(m.length) <= uint64(r.most) {
			copied = append(copied[:0], r.bytesOf(n, int(m.length))...)
			f(m.kind, copied)
		}
	}
	return nil
}

// nobody is for who only looks.
type nobody struct{}

func (nobody) Self() uint32     { return 0 }
func (nobody) Dead(uint32) bool { return false }
