package robust

import (
	"math/rand/v2"
	"sync/atomic"
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/internal/race"
)

// Size is how many bytes an owner word takes.
const Size = 8

// At returns the use of the owner word at the beginning of mem, which is part of handle's object, 8-aligned
// and at least Size bytes long. It stays mapped for as long as the caller keeps handle reachable.
func At(mem []byte, peers Peers, handle Handle) Mutex {
	p := unsafe.Pointer(unsafe.SliceData(mem[:Size]))
	return Mutex{
		word: (*atomic.Uint64)(p),
		// The low half of a little-endian word is at its address; segments exist on little-endian machines only.
		low:    (*atomic.Uint32)(p),
		peers:  peers,
		handle: handle,
		race:   race.At(p),
		mine:   uint64(peers.Self())<<32 | Locked,
	}
}

// Expose takes WHOLE from the owner word at the beginning of mem if self holds it, so that self's death is
// not passed over.
func Expose(mem []byte, self uint32) {
	expose((*atomic.Uint64)(unsafe.Pointer(unsafe.SliceData(mem[:Size]))), self)
}

// HolderSize is how many bytes an owner word and its tag take.
const HolderSize = 16

// HolderAt returns a new Holder of the recursive lock at the beginning of mem.
func HolderAt(mem []byte) Holder { return holderAt(mem, rand.Uint64()|1) }

// HolderLike is HolderAt, of a Holder that has the number of h: they act for one goroutine.
func HolderLike(h *Holder, mem []byte) Holder { return holderAt(mem, h.number) }

func holderAt(mem []byte, number uint64) Holder {
	return Holder{tag: (*atomics.Pos)(unsafe.Pointer(unsafe.SliceData(mem[Size:HolderSize]))), number: number}
}

// Tag is the number of the Holder that holds the recursive lock at the beginning of mem, 0 if it is not known.
func Tag(mem []byte) uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(unsafe.SliceData(mem[Size:HolderSize]))).Load()
}

// Fast returns what an inlined fast path needs: the word and its value while this process holds it and nobody
// waits.
//
//	take  atomic.CompareAndSwapUint64(word, uint64(atomic.LoadUint32(shut)), mine)
//	free  atomic.CompareAndSwapUint64(word, mine|uint64(atomic.LoadUint32(shut)), 0)
//
// where *shut is 0 while the handle is open and Shut once it is closed, so that both fail: no word is Shut alone, and none
// that is held contains it. Under the race detector use Lock and Unlock.
func (m *Mutex) Fast() (word *uint64, mine uint64) { return (*uint64)(unsafe.Pointer(m.word)), m.mine }

// Owner is who holds the owner word at the beginning of mem, 0 if nobody does.
func Owner(mem []byte) uint32 {
	w := (*atomic.Uint64)(unsafe.Pointer(unsafe.SliceData(mem[:Size]))).Load()
	if w&Locked == 0 {
		return 0
	}
	return uint32(w >> 32)
}

// Holders is that one, if there is.
func Holders(mem []byte) (ids []uint32) {
	if id := Owner(mem); id != 0 {
		ids = append(ids, id)
	}
	return ids
}

// Abandoned reports whether somebody holds the owner word at the beginning of mem of whom dead says that.
func Abandoned(mem []byte, dead func(id uint32) bool) bool {
	id := Owner(mem)
	return id != 0 && dead(id)
}

// Check returns the owner word at the beginning of mem, and whether no step leads to it; given tells which owner ids there
// can be.
func Check(mem []byte, given func(id uint32) bool) (at int, w uint64, wrong bool) {
	w = (*atomic.Uint64)(unsafe.Pointer(unsafe.SliceData(mem[:Size]))).Load()
	return 0, w, !Valid(w) || w>>32 != 0 && !given(uint32(w>>32))
}

// Bury marks the death of who holds the owner word at the beginning of mem, if dead says that of him, as those who
// want the word do.
func Bury(mem []byte, dead func(id uint32) bool) {
	p := unsafe.Pointer(unsafe.SliceData(mem[:Size]))
	m := Mutex{word: (*atomic.Uint64)(p), low: (*atomic.Uint32)(p)}
	if w := m.word.Load(); w&Locked != 0 && dead(uint32(w>>32)) {
		m.bury(w)
	}
}
