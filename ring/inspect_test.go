package ring_test

import (
	"reflect"
	"testing"

	"github.com/shoal-ipc/shoal/ring"
)

// What a ring says of itself, before anybody has used it, and with some who do.
func TestInspect(t *testing.T) {
	check := func(name string, got, want ring.Info) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}

	mem := memory(t, ring.SPSCSize[uint64](4))
	p := newSPSC[uint64](t, mem, 4, self(7))
	check("SPSC, new", p.Inspect(), ring.Info{Cap: 4})
	p.TryPushMany([]uint64{1, 2, 3})
	c := openSPSC[uint64](t, mem, self(8))
	c.TryPop()
	check("SPSC", p.Inspect(), ring.Info{Cap: 4, Len: 2, Producers: []uint32{7}, Consumers: []ring.Consumer{{Owner: 8, Items: 2}}})

	mem = memory(t, ring.MPMCSize[[3]uint64](4))
	q, err := ring.NewMPMC[[3]uint64](mem, 4, self(9))
	if err != nil {
		t.Fatal(err)
	}
	check("MPMC, new", q.Inspect(), ring.Info{Cap: 4})
	q.TryPush([3]uint64{})
	o, err := ring.OpenMPMC[[3]uint64](mem, self(3))
	if err != nil {
		t.Fatal(err)
	}
	o.TryPush([3]uint64{})
	check("MPMC", q.Inspect(), ring.Info{Cap: 4, Len: 2, Producers: []uint32{3, 9}})
	o.Close()
	check("MPMC, closed", o.Inspect(), ring.Info{Cap: 4, Len: 2, Producers: []uint32{9}})

	mem = memory(t, ring.MessagesSize(3, 8))
	m := newMessages(t, mem, 3, 8, self(9))
	check("Messages, new", m.Inspect(), ring.Info{Cap: 3})
	m.TryPush(1, nil)
	openMessages(t, mem, self(3)).TryPush(1, nil)
	check("Messages", m.Inspect(), ring.Info{Cap: 3, Len: 2, Producers: []uint32{3, 9}})

	mem = memory(t, ring.BytesSize(1024))
	b := newBytes(t, mem, 1024, self(7))
	check("Bytes, new", b.Inspect(), ring.Info{Cap: 16, Room: 1024})
	b.TryWrite(make([]byte, 100))
	other := openBytes(t, mem, self(8))
	r, _ := other.Reserve(8)
	info := ring.Info{Cap: 16, Len: 2, Room: 1024, Used: 112, Producers: []uint32{7, 8}}
	check("Bytes", b.Inspect(), info)
	b.Next()
	b.Advance()
	info.Len, info.Used, info.Unfinished, info.Consumers = 1, 8, 8, []ring.Consumer{{Owner: 7, Items: 1}}
	check("Bytes, not finished", b.Inspect(), info)
	r.Commit(8)
	info.Unfinished = 0
	check("Bytes, finished", b.Inspect(), info)

	mem = memory(t, ring.BroadcastSize[uint64](4))
	w, err := ring.NewBroadcast[uint64](mem, 4, self(7))
	if err != nil {
		t.Fatal(err)
	}
	check("Broadcast, new", w.Inspect(), ring.Info{Cap: 4})
	w.TryPush(1)
	first := join(t, w)
	w.TryPushMany([]uint64{2, 3, 4})
	if _, err := w.Reader(); err != nil {
		t.Fatal(err)
	}
	first.TryPop()
	check("Broadcast", w.Inspect(), ring.Info{
		Cap: 4, Len: 2, Producers: []uint32{7}, Consumers: []ring.Consumer{{Owner: 7, Items: 2}, {Owner: 7}},
	})
	lossy, err := ring.NewBroadcast[uint64](memory(t, ring.BroadcastSize[uint64](4, ring.BroadcastOptions{Lossy: true})), 4, self(7), ring.BroadcastOptions{Lossy: true})
	if err != nil {
		t.Fatal(err)
	}
	lossy.TryPushMany([]uint64{1, 2})
	check("Broadcast, lossy", lossy.Inspect(), ring.Info{Cap: 4, Len: 2, Producers: []uint32{7}})
}
