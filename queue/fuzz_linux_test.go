package queue_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/queued"
	"github.com/shoal-ipc/shoal/shm"
)

// FuzzQueue lets another process write anything into the memory of a queue and its rings, before it is opened and between all
// calls, and calls every method. Nothing may panic, loop, or touch memory that is another's.
func FuzzQueue(f *testing.F) {
	poke := func(at uint32, v uint64) []byte {
		return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint32(nil, at), v)
	}
	every := []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	for _, at := range []uint32{0, 4, 8, 16, 24, 32, 512, 520, 640, 648, 896, 904} { // the header, and hands or the first ring
		for _, v := range []uint64{0, 1, 2, 3, 24, 1 << 20, 1 << 32, 1<<63 - 1, 1<<64 - 1} {
			f.Add(byte(at), poke(at, v), every)
		}
	}
	for i := range byte(12) {
		f.Add(i, bytes.Repeat(every, 40), bytes.Repeat(every, 2))
		f.Add(i, bytes.Repeat([]byte{0xff}, 120), bytes.Repeat(every, 2))
		f.Add(i, []byte{}, bytes.Repeat(every, 4))
	}
	f.Fuzz(func(t *testing.T, how byte, pokes, ops []byte) {
		seg, err := shm.Anonymous(2 << 20) // what nobody knows of any more for such bytes is lost with it
		proctest.Must(t, err)
		defer seg.Close()
		attack(t, seg, how, pokes, ops)
		proctest.Must(t, seg.Check())
	})
}

// placeOf is the place in the memory of a queue that an offset of a poke means: of its header and hands, or of its first ring.
func placeOf(mem []byte, count bool, at uint32) int {
	first := queued.FirstAt(0)
	if count {
		first = queued.FirstAt(queued.Counts)
	}
	n := int(at & (1<<31 - 1))        // not negative on a machine of 32 bits
	if n%4 != 0 && len(mem) > first { // a ring's header, cells and slots
		n = first + n/4%min(len(mem)-first, 16<<10)
	}
	return n % (len(mem) - 8) &^ 7
}

func attack(t *testing.T, seg *shm.Segment, how byte, pokes, ops []byte) {
	f, n := forms[int(how)%len(forms)], []int{0, 3}[int(how)/len(forms)%2]
	q := newNumbers(t, seg, f, n, smallRing)
	for i := range uint64(3) {
		proctest.Must(t, q.tryPut(i))
	}
	mem := q.memory()
	hit := func() {
		if len(pokes) < 12 {
			return
		}
		at := placeOf(mem, f.count, binary.LittleEndian.Uint32(pokes))
		copy(mem[at:], pokes[4:12])
		pokes = pokes[12:]
	}
	hit()
	hit()
	qs := []numbers{q}
	if b, err := q.object().MarshalBinary(); err != nil {
		t.Fatal(err)
	} else if other, err := q.open(b); err == nil {
		qs = append(qs, other)
	} else if !errors.Is(err, shm.ErrCorrupt) && !errors.Is(err, shm.ErrKind) {
		t.Fatal(err)
	}
	for i, op := range ops {
		q, x := qs[i%len(qs)], uint64(i)
		switch op % 16 {
		case 0:
			q.tryPut(x)
		case 1:
			q.put(over(), x)
		case 2:
			q.putMany(over(), x, x+1, x+2)
		case 3, 4:
			q.tryGet()
		case 5:
			q.get(over())
		case 6:
			q.getMany(over(), 3)
		case 7:
			q.len()
		case 8, 9:
			if q.counts() {
				q.taskDone()
			}
		case 10:
			if q.counts() {
				q.join(over())
			}
		case 11:
			if q.counts() {
				q.unfinished()
			}
		case 12:
			q.shutdown()
		case 13:
			seg.Repair()
		default:
			hit()
		}
	}
	for _, q := range qs {
		q.close()
	}
	proctest.Must(t, shm.Free(q.object()))
}

// Random bytes over everything there is, many times.
func TestHostileMemory(t *testing.T) {
	rnd := proctest.Rand(t)
	seg := proctest.Segment(t, 64<<20)
	rounds := 2000
	if testing.Short() {
		rounds = 200
	}
	for range rounds {
		pokes, ops := make([]byte, 12*(1+rnd.IntN(20))), make([]byte, 40)
		for i := range pokes {
			pokes[i] = byte(rnd.Uint32())
		}
		for i := 0; i < len(pokes); i += 12 {
			if rnd.IntN(2) == 0 { // a small number, or one that is near to what is there
				binary.LittleEndian.PutUint64(pokes[i+4:], rnd.Uint64()>>rnd.IntN(64))
			}
			if rnd.IntN(2) == 0 { // at the beginning
				binary.LittleEndian.PutUint32(pokes[i:], uint32(rnd.IntN(1024)&^3))
			}
		}
		for i := range ops {
			ops[i] = byte(rnd.Uint32())
		}
		attack(t, seg, byte(rnd.Uint32()), pokes, ops)
	}
	proctest.Must(t, seg.Check())
}
