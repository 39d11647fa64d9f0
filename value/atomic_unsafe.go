package value

import (
	"fmt"
	"os"
	"reflect"
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/shm"
)

// Integer is what an Atomic can hold.
type Integer interface {
	~int | ~int32 | ~int64 | ~uint | ~uint32 | ~uint64
}

// Atomic is an integer without a lock. It is a type of its own because an Add between the read and the write
// of somebody's Update would be lost.
//
// All methods may be called from any goroutine of any process; they are sync/atomic's, between processes too,
// wait-free, and each is one instruction that a killed process has done or not done. They panic with
// os.ErrClosed after Close.
type Atomic[T Integer] struct {
	shm.Ref
	p    unsafe.Pointer // *uint32 or *uint64, by the size of T
	race *race.Word
}

func atomicKind[T Integer]() shm.Kind {
	t := reflect.TypeFor[T]()
	return shm.Kind{Name: "atomic", Hash: layout.Hash(t), Type: t.String(), Min: int(unsafe.Sizeof(T(0)))}
}

// NewAtomic makes an atomic integer. The errors are those of shm.Kind.New.
func NewAtomic[T Integer](seg *shm.Segment, name string, init T) (*Atomic[T], error) {
	a, k := new(Atomic[T]), atomicKind[T]()
	mem, err := k.New(&a.Ref, seg, name, k.Min, initialAtomic(init))
	return a.use(mem, err)
}

// OpenAtomic finds an atomic integer. The errors are those of shm.Kind.Open.
func OpenAtomic[T Integer](seg *shm.Segment, name string) (*Atomic[T], error) {
	a := new(Atomic[T])
	mem, err := atomicKind[T]().Open(&a.Ref, seg, name)
	return a.use(mem, err)
}

// OpenOrNewAtomic finds or makes an atomic integer; the number of one that is found stands.
func OpenOrNewAtomic[T Integer](seg *shm.Segment, name string, init T) (*Atomic[T], error) {
	a, k := new(Atomic[T]), atomicKind[T]()
	mem, err := k.OpenOrNew(&a.Ref, seg, name, k.Min, initialAtomic(init))
	return a.use(mem, err)
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (a *Atomic[T]) UnmarshalBinary(data []byte) error {
	mem, err := atomicKind[T]().Unmarshal(&a.Ref, data)
	_, err = a.use(mem, err)
	return err
}

func initialAtomic[T Integer](init T) func(mem []byte) error {
	return func(mem []byte) error {
		*(*T)(unsafe.Pointer(unsafe.SliceData(mem))) = init
		return nil
	}
}

func (a *Atomic[T]) use(mem []byte, err error) (*Atomic[T], error) {
	if err != nil {
		return nil, fmt.Errorf("value: atomic: %w", err)
	}
	a.p = unsafe.Pointer(unsafe.SliceData(mem))
	a.race = race.At(a.p)
	return a, nil
}

func (a *Atomic[T]) narrow() bool { return unsafe.Sizeof(T(0)) == 4 }

func (a *Atomic[T]) u32() *atomic.Uint32 { return (*atomic.Uint32)(a.p) }

func (a *Atomic[T]) u64() *atomic.Uint64 { return (*atomic.Uint64)(a.p) }

func (a *Atomic[T]) begin() {
	if a.Closed() {
		panic(os.ErrClosed)
	}
	a.race.Release()
}

func (a *Atomic[T]) end() {
	a.race.Acquire()
	runtime.KeepAlive(a)
}

// Load returns the number.
func (a *Atomic[T]) Load() (x T) {
	if a.Closed() {
		panic(os.ErrClosed)
	}
	if a.narrow() {
		x = T(a.u32().Load())
	} else {
		x = T(a.u64().Load())
	}
	a.end()
	return x
}

// Store sets the number.
func (a *Atomic[T]) Store(x T) {
	a.begin()
	if a.narrow() {
		a.u32().Store(uint32(x))
	} else {
		a.u64().Store(uint64(x))
	}
	runtime.KeepAlive(a)
}

// Add adds d and returns the new number.
func (a *Atomic[T]) Add(d T) (x T) {
	a.begin()
	if a.narrow() {
		x = T(a.u32().Add(uint32(d)))
	} else {
		x = T(a.u64().Add(uint64(d)))
	}
	a.end()
	return x
}

// Swap sets the number and returns the old one.
func (a *Atomic[T]) Swap(x T) (old T) {
	a.begin()
	if a.narrow() {
		old = T(a.u32().Swap(uint32(x)))
	} else {
		old = T(a.u64().Swap(uint64(x)))
	}
	a.end()
	return old
}

// CompareAndSwap sets the number to new if it is old, and reports whether it did.
func (a *Atomic[T]) CompareAndSwap(old, new T) (swapped bool) {
	a.begin()
	if a.narrow() {
		swapped = a.u32().CompareAndSwap(uint32(old), uint32(new))
	} else {
		swapped = a.u64().CompareAndSwap(uint64(old), uint64(new))
	}
	a.end()
	return swapped
}
