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

func ExampleMPMC() {
	type task struct{ From, To uint64 }
	mem := make([]byte, ring.MPMCSize[task](64)+127) // in a program: a shm.Block, which is shared and aligned
	mem = mem[skip(mem):]

	give, err := ring.NewMPMC[task](mem, 64, self(1)) // in one process
	if err != nil {
		panic(err)
	}
	work, err := ring.OpenMPMC[task](mem, self(2)) // in any number of others
	if err != nil {
		panic(err)
	}
	fmt.Println(give.TryPushMany([]task{{0, 10}, {10, 20}, {20, 30}}))
	t, ok := work.TryPop()
	fmt.Println(t, ok, work.Len())
	// Output:
	// 3
	// {0 10} true 2
}
