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

func ExampleBroadcast() {
	mem := make([]byte, ring.BroadcastSize[float64](4, ring.BroadcastOptions{Lossy: true})+127) // in a program: a shm.Block
	mem = mem[skip(mem):]

	feed, err := ring.NewBroadcast[float64](mem, 4, self(1), ring.BroadcastOptions{Lossy: true}) // in one process
	if err != nil {
		panic(err)
	}
	feed.TryPush(1) // before anybody is there

	b, err := ring.OpenBroadcast[float64](mem, self(2)) // in any number of others
	if err != nil {
		panic(err)
	}
	watch, err := b.Reader()
	if err != nil {
		panic(err)
	}
	defer watch.Close()
	for v := range 7 {
		feed.TryPush(2 + float64(v)) // never waits; the last four stay
	}
	for {
		v, lost, ok := watch.TryPop()
		if !ok {
			break
		}
		fmt.Println(v, lost)
	}
	// Output:
	// 5 3
	// 6 0
	// 7 0
	// 8 0
}

func ExampleBroadcast_blocking() {
	mem := make([]byte, ring.BroadcastSize[int64](2)+127) // in a program: a shm.Block
	mem = mem[skip(mem):]
	b, err := ring.NewBroadcast[int64](mem, 2, self(1))
	if err != nil {
		panic(err)
	}
	quick, _ := b.Reader()
	slow, _ := b.Reader()
	fmt.Println(b.TryPush(1), b.TryPush(2))
	quick.TryPopMany(make([]int64, 2))
	fmt.Println(b.TryPush(3), slow.Len()) // no room before the slow one has read on, or left
	slow.Close()
	fmt.Println(b.TryPush(3))
	// Output:
	// true true
	// false 2
	// true
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

func ExampleMessages() {
	mem := make([]byte, ring.MessagesSize(2, 100)+127) // in a program: a shm.Block, which is shared and aligned
	mem = mem[skip(mem):]

	send, err := ring.NewMessages(mem, 2, 100, self(1)) // in one process
	if err != nil {
		panic(err)
	}
	const text, number = 1, 2
	fmt.Println(send.TryPush(text, []byte("twelve")), send.TryPush(number, []byte{12}), send.TryPush(text, nil)) // it holds two
	send.End(1)                                                                                                  // nothing comes after these

	work, err := ring.OpenMessages(mem, self(2)) // in any number of others
	if err != nil {
		panic(err)
	}
	if kind, b, ticket, ok := work.Peek(nil); ok && kind == text {
		fmt.Printf("%s; others can still take it, or I do: %v\n", b, work.Take(ticket))
	}
	for buf := make([]byte, 0, 100); ; { // a buffer that is used again and again
		ended := work.Mark() != 0 // before the last try
		kind, b, ok := work.TryPop(buf)
		if !ok && ended {
			break
		}
		if ok {
			fmt.Println(kind, b)
		}
	}
	fmt.Println(work.Len(), work.Mark())
	// Output:
	// true true false
	// twelve; others can still take it, or I do: true
	// 2 [12]
	// 0 1
}

func ExampleMPMC_End() {
	mem := make([]byte, ring.MPMCSize[int64](3, ring.MPMCOptions{Exact: true})+127) // in a program: a shm.Block
	mem = mem[skip(mem):]
	r, err := ring.NewMPMC[int64](mem, 3, self(1), ring.MPMCOptions{Exact: true})
	if err != nil {
		panic(err)
	}
	fmt.Println(r.TryPush(1), r.TryPush(2), r.TryPush(3), r.TryPush(4))
	fmt.Println(r.End(2), r.End(1)) // the first one's mark stays
	r.TryPop()
	fmt.Println(r.TryPush(4), r.Len(), r.Mark())
	// Output:
	// true true true false
	// true false
	// false 2 2
}
