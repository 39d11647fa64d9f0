package shm_test

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/shoal-ipc/shoal/shm"
)

// Tally is a kind of object of its own: all that one needs.
type Tally struct {
	shm.Ref
	n *atomic.Uint32
}

var tallyKind = shm.Kind{Name: "tally", Min: 4}

func NewTally(seg *shm.Segment, name string) (*Tally, error) {
	t := new(Tally)
	mem, err := tallyKind.New(&t.Ref, seg, name, 4, nil)
	return t, t.use(mem, err)
}

func OpenTally(seg *shm.Segment, name string) (*Tally, error) {
	t := new(Tally)
	mem, err := tallyKind.Open(&t.Ref, seg, name)
	return t, t.use(mem, err)
}

// UnmarshalBinary lets a Tally travel in arguments.
func (t *Tally) UnmarshalBinary(data []byte) error {
	mem, err := tallyKind.Unmarshal(&t.Ref, data)
	return t.use(mem, err)
}

func (t *Tally) use(mem []byte, err error) error {
	if err == nil {
		t.n = shm.Word32(mem, 0)
	}
	return err
}

// Add may be called from any goroutine of any process.
func (t *Tally) Add() uint32 {
	defer runtime.KeepAlive(t)
	return t.n.Add(1)
}

// A new kind of object takes a Kind, and a type that embeds a Ref.
func ExampleKind() {
	seg, err := shm.Anonymous(0)
	if errors.Is(err, errors.ErrUnsupported) {
		return
	}
	defer seg.Close()
	t, err := NewTally(seg, "visitors")
	if err != nil {
		fmt.Println(err)
		return
	}
	t.Add()
	same, err := OpenTally(seg, "visitors") // in another process, as a rule
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(same.Add())
	// Output: 2
}
