package ring_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/ring"
	"github.com/shoal-ipc/shoal/shm"
)

// scribe is what a process that writes or reads records is given.
type scribe struct {
	Ring *shm.Block
	// The 32-bit words of Counts are, for each writer, how many records it has committed; for a reader, none.
	Counts *shm.Block
	Log    *shm.Block // an SPSC of keys, from a reader to the test
	Who    int
}

const scribes = 1000 // writers in one test, at most

// scribeKey names record i of a writer in the log.
func scribeKey(who, i uint64) uint64 { return who<<40 | i }

// writeRecords writes records of its own, numbered from 0, with two goroutines, for ever.
var writeRecords = proctest.NewRole("write-records", func(_ context.Context, c *proctest.Child, s scribe) error {
	defer runtime.KeepAlive(s)
	r, err := ring.OpenBytes(s.Ring.Bytes(), s.Ring.Segment())
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for g := range 2 {
		who, count := uint64(2*s.Who+g), s.Counts.Uint32(4*(2*s.Who+g))
		wg.Go(func() {
			seed := who
			for i := uint64(0); r.Err() == nil; {
				seed = seed*6364136223846793005 + 1442695040888963407
				if writeNumber(r, who, i, 8+int(seed>>33)%(r.Max()-7), seed>>61) {
					i++
					count.Store(uint32(i))
				} else {
					runtime.Gosched()
				}
			}
		})
	}
	c.Say("on")
	wg.Wait()
	return r.Err()
})

// readRecords reads records for ever and logs each before it frees it.
var readRecords = proctest.NewRole("read-records", func(_ context.Context, c *proctest.Child, s scribe) error {
	defer runtime.KeepAlive(s)
	r, err1 := ring.OpenBytes(s.Ring.Bytes(), s.Ring.Segment())
	log, err2 := ring.OpenSPSC[uint64](s.Log.Bytes(), s.Log.Segment())
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if err := errors.Join(r.Consume(), log.Produce()); err != nil {
		return err
	}
	c.Say("on")
	for r.Err() == nil && log.Err() == nil {
		p, ok := r.Next()
		if !ok {
			runtime.Gosched()
			continue
		}
		who, i, ok := readNumber(p)
		if !ok {
			return errors.New("a record that nobody wrote")
		}
		for !log.TryPush(scribeKey(who, i)) {
			runtime.Gosched()
		}
		r.Advance()
	}
	return errors.Join(r.Err(), log.Err())
})

// TestBytesChaos: writers in several processes, and a reader in another, are killed and stopped at random and
// followed by others. Each writer's records arrive in its order, whole, without a gap; all that it had committed do,
// and at most one more; and one that a reader had in hand when it was killed comes again, but no other.
func TestBytesChaos(t *testing.T) {
	rnd := proctest.Rand(t)
	seg := proctest.Segment(t, 0)
	block := func(n int) *shm.Block {
		b, err := shm.NewBlock(seg, "", n)
		proctest.Must(t, err)
		t.Cleanup(func() { b.Close() })
		return b
	}
	const room = 1 << 12
	s := scribe{Ring: block(ring.BytesSize(room)), Counts: block(8 * scribes), Log: block(ring.SPSCSize[uint64](1024))}
	r := newBytes(t, s.Ring.Bytes(), room, seg)
	r.SetStart(1<<32-5000, 1<<64-1<<20)
	log := newSPSC[uint64](t, s.Log.Bytes(), 1024, seg)

	next := make([]uint64, 2*scribes) // of each writer
	total, again := 0, false          // a reader was killed, so the next key may be the last one again
	last := uint64(1<<64 - 1)
	note := func(key uint64) {
		t.Helper()
		who, i := key>>40, key&(1<<40-1)
		if again && key == last {
			again = false
			return
		}
		if who >= uint64(len(next)) || i != next[who] {
			t.Fatalf("record %d of writer %d, want %d", i, who, next[who])
		}
		next[who]++
		total++
		last, again = key, false
	}
	listen := func() {
		for key, ok := log.TryPop(); ok; key, ok = log.TryPop() {
			note(key)
		}
		proctest.Must(t, log.Err())
	}
	// more waits until so many records more have arrived.
	more := func(n int) {
		for n += total; total < n; runtime.Gosched() {
			listen()
		}
	}
	writers := make([]*proctest.Proc, 2)
	who := 0
	write := func(i int) {
		s := s
		s.Who = who
		who++
		writers[i] = writeRecords.Start(t, s)
		writers[i].WaitLine("on")
	}
	for i := range writers {
		write(i)
	}
	var reader *proctest.Proc
	read := func() {
		reader = readRecords.Start(t, s)
		reader.WaitLine("on")
	}
	read()
	least := 1500 * time.Millisecond
	if testing.Short() {
		least = 300 * time.Millisecond
	}
	kills := 0
	for end := time.Now().Add(proctest.Stress(least)); time.Now().Before(end) && who < scribes; {
		more(rnd.IntN(800))
		switch i := rnd.IntN(len(writers)); rnd.IntN(4) {
		case 0, 1:
			writers[i].Kill()
			writers[i].Wait()
			write(i)
			kills++
		case 2:
			writers[i].Stop()
			listen()
			writers[i].Continue()
		case 3:
			reader.Kill()
			reader.Wait()
			listen()
			again = true
			read()
			kills++
		}
	}
	more(1000)
	for _, p := range append(writers, reader) {
		p.Kill()
		p.Wait()
	}
	listen()
	again = true
	for p, ok := r.Next(); ok; p, ok = r.Next() {
		who, i, ok := readNumber(p)
		if !ok {
			t.Fatal("a record that nobody wrote")
		}
		note(scribeKey(who, i))
		r.Advance()
	}
	proctest.Must(t, r.Err())
	for i := range 2 * who {
		if committed := uint64(s.Counts.Uint32(4 * i).Load()); next[i] < committed || next[i] > committed+1 {
			t.Errorf("writer %d has committed %d records, %d arrived", i, committed, next[i])
		}
	}
	// All room is there.
	n := 0
	for r.TryWrite(nil) {
		n++
	}
	if n != int(r.Slots()) {
		t.Errorf("in the end %d records fit, want %d; %v", n, r.Slots(), r.Err())
	}
	t.Logf("%d records, %d writers and readers killed", total, kills)
	runtime.KeepAlive(s)
}

// TestBytesWriterStopped: a writer that is stopped anywhere holds up what is behind a record that it has begun, but
// others write until there is no room; when it goes on, all arrives.
func TestBytesWriterStopped(t *testing.T) {
	seg := proctest.Segment(t, 0)
	b, err := shm.NewBlock(seg, "", ring.BytesSize(1<<12))
	proctest.Must(t, err)
	counts, err := shm.NewBlock(seg, "", 8*scribes)
	proctest.Must(t, err)
	log, err := shm.NewBlock(seg, "", 1024)
	proctest.Must(t, err)
	r := newBytes(t, b.Bytes(), 1<<12, seg)
	p := writeRecords.Start(t, scribe{Ring: b, Counts: counts, Log: log})
	p.WaitLine("on")
	own, next := uint64(0), make([]uint64, 3)
	read := func() bool {
		p, ok := r.Next()
		if !ok {
			proctest.Must(t, r.Err())
			return false
		}
		who, i, ok := readNumber(p)
		if !ok || who > 2 || i != next[who] {
			t.Fatalf("record %d of writer %d, want %v", i, who, next)
		}
		next[who]++
		r.Advance()
		return true
	}
	rounds := 40
	if testing.Short() {
		rounds = 8
	}
	for range rounds {
		for n := 0; n < 100; {
			if read() {
				n++
			}
		}
		p.Stop()
		for read() {
		}
		before := own
		for r.TryWrite(record(2<<40|own, 16)) {
			own++
			if read() && own-before > 1000 { // nothing is unfinished
				break
			}
		}
		if own == before {
			t.Fatal("nobody can write beside a stopped writer: ", r.Err())
		}
		p.Continue()
		for next[2] != own {
			read()
		}
	}
	runtime.KeepAlive(counts)
	runtime.KeepAlive(log)
}
