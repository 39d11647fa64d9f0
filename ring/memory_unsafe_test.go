package ring_test

import (
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/shoal-ipc/shoal/ring"
)

// memory returns n zeroed bytes of the Go heap, aligned as rings want it. The race detector sees them.
func memory(t testing.TB, n int) []byte {
	t.Helper()
	return aligned(n)
}

func aligned(n int) []byte {
	b := make([]byte, n+128)
	at := skip(b)
	return b[at : at+n : at+n]
}

// bytesOf is the memory of items.
func bytesOf[T any](items []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(items))), uintptr(len(items))*unsafe.Sizeof(items[0]))
}

// addressOf is where items lie.
func addressOf[T any](items []T) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(items))) }

func bigEndian() bool {
	x := uint16(1)
	return *(*byte)(unsafe.Pointer(&x)) == 0
}

// self is a living process among living processes.
type self uint32

func (s self) Self() uint32   { return uint32(s) }
func (self) Dead(uint32) bool { return false }

func newSPSC[T any](t testing.TB, mem []byte, n int, p ring.Peers) *ring.SPSC[T] {
	t.Helper()
	r, err := ring.NewSPSC[T](mem, n, p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func openSPSC[T any](t testing.TB, mem []byte, p ring.Peers) *ring.SPSC[T] {
	t.Helper()
	r, err := ring.OpenSPSC[T](mem, p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// skip is how many bytes of b come before the first aligned one.
func skip(b []byte) int { return -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & 127 }

// modelMemory is memory for what is no testing.TB.
func modelMemory(n int) []byte {
	b := make([]byte, n+128)
	at := skip(b)
	return b[at : at+n : at+n]
}

// sizeOf is the size of a T.
func sizeOf[T any]() uintptr {
	var v T
	return unsafe.Sizeof(v)
}

// wordsOf is shared memory as words that several processes read and write.
func wordsOf(b []byte) []atomic.Uint64 {
	return unsafe.Slice((*atomic.Uint64)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/8)
}
