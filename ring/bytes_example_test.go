package ring_test

import (
	"fmt"

	"github.com/shoal-ipc/shoal/ring"
)

func ExampleBytes() {
	mem := make([]byte, ring.BytesSize(1<<16)+127) // in a program: a shm.Block, which is shared and aligned
	mem = mem[skip(mem):]

	logs, err := ring.NewBytes(mem, 1<<16, self(1)) // in one process
	if err != nil {
		panic(err)
	}
	worker, err := ring.OpenBytes(mem, self(2)) // in as many others as you like
	if err != nil {
		panic(err)
	}
	worker.TryWrite([]byte("a line"))
	if c, ok := worker.Reserve(100); ok { // written in place, its length known afterwards
		c.Commit(copy(c.Data, "another one"))
	}
	for line, ok := logs.Next(); ok; line, ok = logs.Next() {
		fmt.Printf("%s\n", line) // in place: good until Advance
		logs.Advance()
	}
	// Output:
	// a line
	// another one
}
