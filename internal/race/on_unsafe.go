//go:build race

package race

import (
	"runtime"
	"sync"
	"unsafe"
	"weak"
)

// Enabled reports whether the race detector is on.
const Enabled = true

// Word stands for one piece of shared memory. (It is too large for the tiny allocator, which would let it
// share a block.)
type Word struct{ _ [32]byte }

var words struct {
	sync.Mutex
	at map[uintptr]weak.Pointer[Word]
}

// At returns the Word of the shared memory at p: the same one for as long as somebody has it.
func At(p unsafe.Pointer) *Word {
	words.Lock()
	defer words.Unlock()
	key := uintptr(p)
	if w := words.at[key].Value(); w != nil {
		return w
	}
	w := new(Word)
	if words.at == nil {
		words.at = make(map[uintptr]weak.Pointer[Word])
	}
	ref := weak.Make(w)
	words.at[key] = ref
	runtime.AddCleanup(w, func(key uintptr) {
		words.Lock()
		defer words.Unlock()
		if words.at[key] == ref {
			delete(words.at, key)
		}
	}, key)
	return w
}

// Acquire orders what follows after every Release of w so far.
func (w *Word) Acquire() { runtime.RaceAcquire(unsafe.Pointer(w)) }

// Release orders what came before ahead of every later Acquire of w.
func (w *Word) Release() { runtime.RaceReleaseMerge(unsafe.Pointer(w)) }
