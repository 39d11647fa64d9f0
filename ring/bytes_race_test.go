//go:build race

package ring_test

import (
	"runtime"
	"testing"

	"github.com/edsrzf/mmap-go"

	"github.com/shoal-ipc/shoal/ring"
)

// TestBytesRace: as TestSPSCRace, for records.
func TestBytesRace(t *testing.T) { quietAndLoud(t, handOverRecords) }

// handOverRecords passes indexes of a slice in the Go heap through a ring, both ways: the consumer reads and writes
// the elements, and the producer writes them again once there is room again. Nothing else orders the two.
func handOverRecords(t *testing.T, silent bool) {
	const n, rounds = 8, 5_000
	mem, err := mmap.MapRegion(nil, ring.BytesSize(8*n), mmap.RDWR, mmap.ANON, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Unmap()
	p := newBytes(t, mem, 8*n, self(1))
	c := openBytes(t, mem, self(2))
	if silent {
		p.Unannotate()
		c.Unannotate()
	}
	var data [n]uint64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := uint64(0); i < rounds; i++ {
			room, ok := p.Reserve(1)
			for ; !ok; room, ok = p.Reserve(1) { // room for 8 records: this one means that the one before 8 is gone
				runtime.Gosched()
			}
			data[i%n] = i
			room.Data[0] = byte(i % n)
			room.Commit(1)
		}
	}()
	for i := uint64(0); i < rounds; {
		at, ok := c.Next()
		if !ok {
			runtime.Gosched()
			continue
		}
		if data[at[0]] != i {
			t.Errorf("record %d is %d", i, data[at[0]])
		}
		data[at[0]] = 0
		c.Advance()
		i++
	}
	<-done
}
