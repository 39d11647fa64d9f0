package ring_test

import (
	"fmt"

	"github.com/shoal-ipc/shoal/ring"
)

func ExampleSPSC() {
	type tick struct {
		Symbol [8]byte
		Price  float64
	}
	mem := make([]byte, ring.SPSCSize[tick](1024)+127) // in a program: a shm.Block, which is shared and aligned
	mem = mem[skip(mem):]

	feed, err := ring.NewSPSC[tick](mem, 1024, self(1)) // in one process
	if err != nil {
		panic(err)
	}
	watch, err := ring.OpenSPSC[tick](mem, self(2)) // in another
	if err != nil {
		panic(err)
	}
	feed.TryPush(tick{[8]byte{'A', 'B', 'C'}, 1.5})
	t, ok := watch.TryPop()
	fmt.Printf("%s %v %v\n", t.Symbol[:3], t.Price, ok)
	_, ok = watch.TryPop()
	fmt.Println(ok)
	// Output:
	// ABC 1.5 true
	// false
}
