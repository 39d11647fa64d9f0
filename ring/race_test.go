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

// TestSPSCRace: the race detector knows that a ring in mapped memory hands over what its items stand for. So
// that this can fail, the same without the annotations must be reported: that end of the test runs in a process
// of its own.
func TestSPSCRace(t *testing.T) {
	const role = "SHOAL_RING_RACE"
	if how := os.Getenv(role); how != "" {
		handOver(t, how == "loud")
		return
	}
	for how, want := range map[string]bool{"quiet": false, "loud": true} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestSPSCRace$")
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

// handOver passes indexes of a slice in the Go heap through a ring, both ways: the consumer reads and writes
// the elements, and the producer writes them again once their slots are free.
func handOver(t *testing.T, silent bool) {
	const n, rounds = 8, 10_000
	mem, err := mmap.MapRegion(nil, ring.SPSCSize[uint64](n), mmap.RDWR, mmap.ANON, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Unmap()
	p := newSPSC[uint64](t, mem, n, self(1))
	c := openSPSC[uint64](t, mem, self(2))
	if silent {
		p.Unannotate()
		c.Unannotate()
	}
	var data [n]uint64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := uint64(0); i < rounds; i++ {
			for len(p.Reserve(1)) == 0 { // room means that the element is the producer's again
				runtime.Gosched()
			}
			data[i%n] = i
			p.TryPush(i % n)
		}
	}()
	for i := uint64(0); i < rounds; {
		at := c.Peek(1)
		if len(at) == 0 {
			runtime.Gosched()
			continue
		}
		if data[at[0]] != i {
			t.Errorf("item %d is %d", i, data[at[0]])
		}
		data[at[0]] = 0
		c.Advance(1)
		i++
	}
	<-done
}
