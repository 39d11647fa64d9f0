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
func TestSPSCRace(t *testing.T) { quietAndLoud(t, handOver) }

// quietAndLoud runs the hand-over of the test t with and without annotations.
func quietAndLoud(t *testing.T, handOver func(t *testing.T, silent bool)) {
	t.Helper()
	quietAndLoudOf(t, []string{""}, func(t *testing.T, _ string, silent bool) { handOver(t, silent) })
}

// tries is how often a run without annotations may be quiet: the detector keeps the history of each goroutine for a while, and
// tells nothing of an access that it has none of any more, as when that goroutine got no CPU for some milliseconds.
const tries = 20

// quietAndLoudOf does that for each kind of ring.
func quietAndLoudOf(t *testing.T, kinds []string, handOver func(t *testing.T, kind string, silent bool)) {
	t.Helper()
	const role = "SHOAL_RING_RACE"
	if as := os.Getenv(role); as != "" {
		how, kind, _ := strings.Cut(as, " ")
		handOver(t, kind, how == "loud")
		return
	}
	run := func(as string) (race bool, out []byte) {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), role+"="+as, "GORACE=atexit_sleep_ms=0")
		out, err := cmd.CombinedOutput()
		race = strings.Contains(string(out), "WARNING: DATA RACE")
		if failed := new(exec.ExitError); err != nil && !errors.As(err, &failed) || race != (err != nil) {
			t.Fatalf("%s: %v\n%s", as, err, out)
		}
		return race, out
	}
	for _, kind := range kinds {
		if race, out := run("quiet " + kind); race {
			t.Errorf("%s: a race is reported of what is handed over:\n%s", kind, out)
		}
		loud := false
		for i := 0; i < tries && !loud; i++ {
			loud, _ = run("loud " + kind)
		}
		if !loud {
			t.Errorf("%s: no race is reported without annotations", kind)
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

// TestBroadcastRace and TestBroadcastLossyRace: the same of a Broadcast.
func TestBroadcastRace(t *testing.T) { quietAndLoud(t, broadcastOver) }

func TestBroadcastLossyRace(t *testing.T) { quietAndLoud(t, lossyOver) }

// mapped is a Broadcast of 8 numbers in mapped memory, with a handle for each end.
func mapped(t *testing.T, o options, silent bool, readers int) (p *ring.Broadcast[uint64], rs []*ring.Reader[uint64]) {
	mem, err := mmap.MapRegion(nil, ring.BroadcastSize[uint64](8, o), mmap.RDWR, mmap.ANON, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mem.Unmap() })
	p, err = ring.NewBroadcast[uint64](mem, 8, self(1), o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range readers {
		rs = append(rs, join(t, openBroadcast[uint64](t, mem, self(2+uint32(i)))))
	}
	if silent {
		ring.UnannotateBroadcast(p, rs...)
	}
	return p, rs
}

// broadcastOver passes indexes of a slice in the Go heap through a blocking ring: two readers read the elements, and
// the producer writes them again once their slots are free.
func broadcastOver(t *testing.T, silent bool) {
	const n, rounds = 8, 5_000
	p, rs := mapped(t, options{}, silent, 2)
	var data [n]uint64
	done := make(chan struct{})
	for _, r := range rs {
		go func() {
			defer func() { done <- struct{}{} }()
			for i := uint64(0); i < rounds; {
				at := r.Peek(1)
				if len(at) == 0 {
					runtime.Gosched()
					continue
				}
				if data[at[0]] != i {
					t.Errorf("item %d is %d", i, data[at[0]])
				}
				r.Advance(1)
				i++
			}
		}()
	}
	for i := uint64(0); i < rounds; i++ {
		for len(p.Reserve(1)) == 0 { // room means that the element is the producer's again
			runtime.Gosched()
		}
		data[i%n] = i
		p.TryPush(i % n)
	}
	<-done
	<-done
}

// lossyOver passes indexes of a slice through a lossy ring, one way: each element is written once.
func lossyOver(t *testing.T, silent bool) {
	const rounds = 5_000
	p, rs := mapped(t, options{Lossy: true}, silent, 1)
	data := make([]uint64, rounds)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for next := uint64(0); next < rounds; {
			at, lost, ok := rs[0].TryPop()
			if !ok {
				runtime.Gosched()
				continue
			}
			if next += lost; at != next || data[at] != at+1 {
				t.Errorf("item %d is %d, %d", next, at, data[at])
			}
			next++
		}
	}()
	for i := range uint64(rounds) {
		data[i] = i + 1
		p.TryPush(i)
		if i%5 == 0 {
			runtime.Gosched()
		}
	}
	<-done
}

// TestMPMCRace is the same for rings of both forms.
func TestMPMCRace(t *testing.T) {
	var kinds []string
	for _, form := range ring.Forms(8) {
		kinds = append(kinds, formNames[form])
	}
	quietAndLoudOf(t, kinds, func(t *testing.T, kind string, silent bool) {
		for form, name := range formNames {
			if name == kind {
				handOverMPMC(t, form, silent)
			}
		}
	})
}

// TestMessagesRace is the same for messages, half of which are looked at and taken.
func TestMessagesRace(t *testing.T) {
	quietAndLoud(t, func(t *testing.T, silent bool) {
		const n, rounds = 8, 500
		mem, err := mmap.MapRegion(nil, ring.MessagesSize(n, letterSize), mmap.RDWR, mmap.ANON, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer mem.Unmap()
		p := &letters{Messages: newMessages(t, mem, n, letterSize, self(1))}
		c := &letters{Messages: openMessages(t, mem, self(2))}
		if silent {
			p.Unannotate()
			c.Unannotate()
		}
		var data [2 * n]uint64
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := uint64(0); i < rounds; i++ {
				data[i%(2*n)]++
				for !p.push(i) { // message i is pushed when i-n has been popped
					runtime.Gosched()
				}
			}
		}()
		for next := uint64(0); next < rounds; {
			i, ok := c.pop()
			if !ok {
				runtime.Gosched()
				continue
			}
			if i != next || data[i%(2*n)] != 1 {
				t.Errorf("message %d is %d, its element is %d", next, i, data[i%(2*n)])
			}
			data[i%(2*n)] = 0
			next++
		}
		<-done
	})
}

// handOverMPMC passes indexes of a slice in the Go heap through a ring, both ways, one at a time and many: who pops an
// index writes the element, and so does who pushes it, when its slot is free again.
func handOverMPMC(t *testing.T, form uint32, silent bool) {
	const n, rounds = 8, 500 // each race takes the detector a millisecond, reported or not
	mem, err := mmap.MapRegion(nil, ring.MPMCSizeIn[uint64](n, form), mmap.RDWR, mmap.ANON, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Unmap()
	p := newMPMC[uint64](t, mem, n, self(1), form)
	c := openMPMC[uint64](t, mem, self(2))
	if silent {
		p.Unannotate()
		c.Unannotate()
	}
	var data [2 * n]uint64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := uint64(0); i < rounds; i++ {
			// Item i is pushed when item i-n has been popped, and so has all before it.
			if i >= 2*n {
				data[i%(2*n)]++
			}
			data[i%(2*n)] = i
			for ok := false; !ok; runtime.Gosched() {
				if i%3 == 0 {
					ok = p.TryPushMany([]uint64{i}) == 1
				} else {
					ok = p.TryPush(i)
				}
			}
		}
	}()
	for next := uint64(0); next < rounds; {
		var vs [3]uint64
		k := 0
		if next%2 == 0 {
			k = c.TryPopMany(vs[:])
		} else if v, ok := c.TryPop(); ok {
			vs[0], k = v, 1
		}
		for _, i := range vs[:k] {
			if i != next || data[i%(2*n)] != i {
				t.Errorf("item %d is %d, its element is %d", next, i, data[i%(2*n)])
			}
			data[i%(2*n)] = 0
			next++
		}
		if k == 0 {
			runtime.Gosched()
		}
	}
	<-done
}
