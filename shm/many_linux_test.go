package shm_test

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/shm"
)

// holdings is what this process has of the system.
type holdings struct{ descriptors, mappings, resident int }

func (h holdings) String() string {
	return fmt.Sprintf("%d descriptors, %d mappings, %.1f MiB resident", h.descriptors, h.mappings, float64(h.resident)/(1<<20))
}

// heldAfter is what is left when the garbage collector has had its time.
func heldAfter(t testing.TB, before holdings) (h holdings) {
	t.Helper()
	for range 1000 {
		if h = held(t); h.descriptors <= before.descriptors && h.mappings <= before.mappings {
			break
		}
	}
	return h
}

func held(t testing.TB) (h holdings) {
	t.Helper()
	for range 3 { // a round for the handles, one for their segments
		runtime.GC()
		time.Sleep(time.Millisecond) // for the cleanups
	}
	fds, err := os.ReadDir("/proc/self/fd")
	proctest.Must(t, err)
	maps, err := os.ReadFile("/proc/self/maps")
	proctest.Must(t, err)
	stat, err := os.ReadFile("/proc/self/statm")
	proctest.Must(t, err)
	var pages int
	_, err = fmt.Sscan(string(stat), new(int), &pages)
	proctest.Must(t, err)
	return holdings{len(fds), bytes.Count(maps, []byte("memfd:")), pages * os.Getpagesize()}
}

// many is n, or all when there is time.
func many(n, all int) int {
	if proctest.Stress(0) > 0 {
		return all
	}
	return n
}

// Segments that are made, used and dropped, closed or not, leave nothing.
func TestManySegments(t *testing.T) {
	var limit syscall.Rlimit
	proctest.Must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	narrow := syscall.Rlimit{Cur: min(limit.Cur, 500), Max: limit.Max}
	proctest.Must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &narrow))
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	before := held(t)
	n := many(2000, 100_000)
	for i := range n {
		seg, err := shm.Anonymous(1)
		proctest.Must(t, err)
		b := block(t, seg, "", 8)
		b.Bytes()[0] = 1
		if i%2 == 0 {
			proctest.Must(t, seg.Close())
		}
	}
	after := heldAfter(t, before)
	t.Logf("%d segments: before %v, after %v", n, before, after)
	if after.descriptors > before.descriptors || after.mappings > before.mappings {
		t.Errorf("before %v, after %v", before, after)
	}
}

// Objects that are made and freed, whose handles are closed or forgotten, leave nothing.
func TestManyObjects(t *testing.T) {
	seg := proctest.Segment(t, 256<<20)
	first := block(t, seg, "", 8)
	before, usedBefore := held(t), used(seg)
	n, most := many(20_000, 1_000_000), 0
	for i := range n {
		name := ""
		if i%4 == 0 {
			name = fmt.Sprint("object ", i%1000)
		}
		b := block(t, seg, name, i%300)
		if name != "" {
			proctest.Must(t, seg.Remove(name))
		} else {
			proctest.Must(t, shm.Free(b))
		}
		if i%2 == 0 {
			proctest.Must(t, b.Close())
		}
		if i%10_000 == 0 {
			most = max(most, used(seg))
		}
	}
	settled(t, seg, 1)
	after := heldAfter(t, before)
	shm.Spill(seg)
	t.Logf("%d objects: before %v, after %v; in the segment %d bytes before, at most %d meanwhile, %d after; the heap has grown to %d",
		n, before, after, usedBefore, most, used(seg), shm.Word(seg, 384).Load()-shm.HeapAt)
	if after.descriptors > before.descriptors || after.mappings > before.mappings {
		t.Errorf("before %v, after %v", before, after)
	}
	if used(seg) != usedBefore {
		t.Errorf("%d bytes used before, %d after", usedBefore, used(seg))
	}
	proctest.Must(t, seg.Check())
	runtime.KeepAlive(first)
}
