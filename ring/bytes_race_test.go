//go:build race

package ring_test

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/edsrzf/mmap-go"

	"github.com/shoal-ipc/shoal/ring"
)

// TestBytesRace: as TestSPSCRace, for records.
func TestBytesRace(t *testing.T) {
	const role = "SHOAL_RING_RACE_BYTES"
	if how := os.Getenv(role); how != "" {
		handOverRecords(t, how == "loud")
		return
	}
	for how, want := range map[string]bool{"quiet": false, "loud": true} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestBytesRace$")
		cmd.Env = append(os.Environ(), role+"="+how, "GORACE=atexit_sleep_ms=0")
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if got := strings.Contains(string(out), "WARNING: DATA RACE"); got != want || (err != nil) != want {
			t.Errorf("%s: a race was reported: %v, want %v; %v\n%s", how, got, want, err, out)
		}
	}
}

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
