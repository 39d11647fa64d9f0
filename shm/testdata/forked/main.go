// Command forked is a library for programs in other languages that fork: its test loads it into one in C and one in
// Python. Each function returns 0 if all is as it should be, and else says why on stderr.
package main

import "C"

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/shoal-ipc/shoal/internal/inherit"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/shm"
)

var lock locks.Lock

// shoal_open enters the segment whose descriptors are 3 (memory) and 4 (participant), and takes the lock.
//
//export shoal_open
func shoal_open(owner C.uint, handle *C.char) C.int {
	data, err := hex.DecodeString(C.GoString(handle))
	var h shm.Handle
	if err == nil {
		err = h.UnmarshalBinary(data)
	}
	inherit.Put(inherit.Segment{
		UUID: h.Segment, Owner: uint32(owner), Memory: os.NewFile(3, "memory"), Alive: os.NewFile(4, "alive"),
	})
	if err == nil {
		err = lock.UnmarshalBinary(data)
	}
	if err == nil {
		err = lock.Acquire(context.Background())
	}
	return code(err)
}

// shoal_forked calls what is ErrForked in a forked process, which has no memory of its parent's.
//
//export shoal_forked
func shoal_forked() C.int {
	seg := lock.Segment()
	data, marshal := lock.Handle().MarshalBinary()
	for what, err := range map[string]error{
		"Anonymous":       second(shm.Anonymous(1)),
		"NewBlock":        second(shm.NewBlock(seg, "", 64)),
		"OpenBlock":       second(shm.OpenBlock(seg, "x")),
		"UnmarshalBinary": new(locks.Lock).UnmarshalBinary(data),
		"Prepare":         second(seg.Prepare()),
		"Close":           seg.Close(),
	} {
		if !errors.Is(err, shm.ErrForked) {
			return code(fmt.Errorf("%s: %w, want ErrForked", what, err))
		}
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if bytes.Contains(maps, []byte("memfd:shoal")) {
		err = errors.New("the memory is mapped in a forked process")
	}
	return code(errors.Join(marshal, err))
}

func second[T any](_ T, err error) error { return err }

// shoal_alive uses the segment as before.
//
//export shoal_alive
func shoal_alive() C.int {
	seg := lock.Segment()
	if seg.Dead(seg.Self()) {
		return code(errors.New("dead"))
	}
	_, err := shm.NewBlock(seg, "", 64)
	if err == nil {
		err = lock.Release()
	}
	if err == nil {
		err = lock.Acquire(context.Background())
	}
	return code(err)
}

func code(err error) C.int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func main() {}
