package ring

import (
	"runtime"
	"slices"
)

// Info is what a ring says of itself, for people who look for what holds it up. It is read one number after the other while
// others go on, so these may not fit together. Owner ids are those of Peers, each once; shm.Segment.Participant tells which
// processes they are. The dead may be among them until somebody needs what they had.
type Info struct {
	// Cap is how many items the ring can hold, or records in a Bytes, and Len how many it holds, finished or not; in a blocking Broadcast as
	// many as its slowest reader has not read, in a lossy one as many as can be read.
	Cap, Len int
	// Room is how many bytes the records of a Bytes can take, and Used how many they do.
	Room, Used int
	// Producers is who has the producer's end, or a cell to write with; nobody needs one to push small items to an MPMC.
	Producers []uint32
	// Consumers is who has the consumer's end, and the readers of a blocking Broadcast; those of a lossy one, and the
	// consumers of an MPMC, are not known.
	Consumers []Consumer
	// Unfinished is who has claimed the oldest record of a Bytes and has not finished it, so that those behind it are not read; 0 is
	// nobody.
	Unfinished uint32
}

// Consumer is one who takes items.
type Consumer struct {
	Owner uint32
	Items int // that are there for it; also those behind an unfinished record
}

// Inspect reads the ring's record. It may be called from anywhere, also while others have the ends, and after Close.
func (r *SPSC[T]) Inspect() Info {
	n := r.Len()
	return Info{
		Cap: r.Cap(), Len: n, Producers: owners(r.header.producer.Load()), Consumers: consumers(r.header.consumer.Load(), n),
	}
}

// Inspect reads the ring's record. It may be called from anywhere, also after Close.
func (r *MPMC[T]) Inspect() Info { return r.inspect() }

// Inspect is as MPMC's.
func (r *Messages) Inspect() Info { return r.inspect() }

func (m *mpmc) inspect() Info {
	i := Info{Cap: m.capacity(), Len: m.length()}
	if m.cells != nil {
		for c := range m.cells {
			i.Producers = append(i.Producers, owners(m.cells[c].owner.Load())...)
		}
	}
	i.Producers = once(i.Producers)
	runtime.KeepAlive(m)
	return i
}

// Inspect reads the ring's record. It may be called from anywhere, also while others have the consumer's end, and after Close.
func (r *Bytes) Inspect() Info {
	h := r.header
	head, from := h.head.Load(), h.freed.Load()
	i := Info{Cap: int(r.mask + 1), Room: int(r.room)}
	for t := head; t-head <= r.mask; t++ {
		d := r.slot(t)
		w := d.word.Load()
		if w&stateMask == stateEmpty || !r.inLap(w, t) {
			break
		}
		if t == head && w&stateMask == stateClaimed {
			if cell := h.cells[w>>whoShift&cellMask].Load(); cell>>32&genMask == w>>(whoShift+genShift)&genMask {
				i.Unfinished = uint32(cell)
			}
		}
		if used := d.end.Load() - from; used <= r.room {
			i.Used = max(i.Used, int(used))
		}
		i.Len++
	}
	for c := range h.cells {
		i.Producers = append(i.Producers, owners(uint32(h.cells[c].Load()))...)
	}
	i.Producers = once(i.Producers)
	i.Consumers = consumers(h.consumer.Load(), i.Len)
	return i
}

// Inspect reads the ring's record. It may be called from anywhere, also while another has the producer's end, and after Close.
func (b *Broadcast[T]) Inspect() Info {
	tail := b.head.tail.Load()
	i := Info{Cap: b.Cap(), Producers: owners(b.head.producer.Load())}
	if b.lossy {
		i.Len = int(min(tail, b.slots)) // but for a tail that has come round
		return i
	}
	for c := range b.audience.cells[:min(b.head.used.Load(), uint32(len(b.audience.cells)))] {
		w := b.audience.cells[c].word.Load()
		if ownerIn(w) == 0 {
			continue
		}
		n := 0
		if w&cellJoining == 0 {
			n = int(min((tail-w)&cellPlace, b.slots))
		}
		i.Consumers = append(i.Consumers, Consumer{ownerIn(w), n})
		i.Len = max(i.Len, n)
	}
	return i
}

func owners(id uint32) []uint32 {
	if id == 0 {
		return nil
	}
	return []uint32{id}
}

func consumers(id uint32, n int) []Consumer {
	if id == 0 {
		return nil
	}
	return []Consumer{{id, n}}
}

// once is each of ids once, in ascending order.
func once(ids []uint32) []uint32 {
	slices.Sort(ids)
	return slices.Compact(ids)
}
