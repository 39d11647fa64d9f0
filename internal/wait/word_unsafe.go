package wait

import (
	"fmt"
	"structs"
	"sync/atomic"
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/layout"
)

// Size is how many bytes a Word takes.
const Size = layout.CacheLine

// shared is what a Word is in shared memory (doc.go, Layout). It has a line of its own: publishers read it after each
// publication, and it is written only when somebody sleeps.
type shared struct {
	_     structs.HostLayout
	state atomic.Uint32
	_     [layout.CacheLine - 4]byte
}

var (
	_ [0]struct{}    = [unsafe.Offsetof(shared{}.state)]struct{}{}
	_ [Size]struct{} = [unsafe.Sizeof(shared{})]struct{}{}
)

// sharedAt is the word at the start of mem.
func sharedAt(mem []byte) (*shared, error) {
	p := unsafe.Pointer(unsafe.SliceData(mem))
	if len(mem) < Size || uintptr(p)%layout.CacheLine != 0 {
		return nil, fmt.Errorf("wait: a word in %d bytes at %#x: want %d, aligned to %d", len(mem), uintptr(p), Size, layout.CacheLine)
	}
	return (*shared)(p), nil
}
