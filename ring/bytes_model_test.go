package ring_test

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/shoal-ipc/shoal/ring"
)

// modelRecord is a record that is claimed and not yet passed over.
type modelRecord struct {
	id      uint64
	end     uint64 // where it ends in bytes
	claimed int
	length  int // what was committed
	state   uint64
	by      int // which producer
	handle  ring.Record
}

// byteModel is what a Bytes promises, done one thing at a time.
type byteModel struct {
	records   []modelRecord
	from, end uint64
	room      uint64
	slots     int
}

// claim adds a record if there is room.
func (m *byteModel) claim(id uint64, n int) bool {
	size := uint64(max(n+7, 8)) &^ 7
	place := m.end
	if off := place % m.room; off+size > m.room {
		place += m.room - off
	}
	if place+size-m.from > m.room || len(m.records) == m.slots {
		return false
	}
	m.end = place + size
	m.records = append(m.records, modelRecord{id: id, end: m.end, claimed: n, state: ring.StateClaimed})
	return true
}

func (m *byteModel) pass() {
	m.from = m.records[0].end
	m.records = m.records[1:]
}

// TestBytesModel does random things with a ring and with the model, and compares: producers and consumers live in
// processes of their own, which die and are followed by others.
func TestBytesModel(t *testing.T) {
	for range 10 { // of 100 runs each, if -rapid.checks says nothing else
		rapid.Check(t, checkBytesModel)
	}
}

func checkBytesModel(t *rapid.T) {
	var w world
	room := 1 << rapid.IntRange(6, 12).Draw(t, "room")
	mem := modelMemory(ring.BytesSize(room))
	r, err := ring.NewBytes(mem, room, w.process(1))
	if err != nil {
		t.Fatal(err)
	}
	b := rapid.SampledFrom(beginnings).Draw(t, "beginning")
	r.SetStart(b.at, b.from)
	m := &byteModel{from: b.from, end: b.from, room: uint64(room), slots: int(r.Slots())}
	ids := uint32(1)
	open := func() (*ring.Bytes, uint32) {
		ids++
		h, err := ring.OpenBytes(mem, w.process(ids))
		if err != nil {
			t.Fatal(err)
		}
		h.NoSpin()
		return h, ids
	}
	type party struct {
		*ring.Bytes
		id   uint32
		dead bool
	}
	var producers []party
	addProducer := func() {
		h, id := open()
		producers = append(producers, party{Bytes: h, id: id})
	}
	addProducer()
	consumer, consumerID := open()
	inHand := false
	written := uint64(0)
	// alive draws a living producer.
	alive := func(t *rapid.T) int {
		for {
			if i := rapid.IntRange(0, len(producers)-1).Draw(t, "producer"); !producers[i].dead {
				return i
			}
		}
	}
	draw := func(t *rapid.T) (int, int) {
		return alive(t), rapid.IntRange(0, r.Max()).Draw(t, "length")
	}
	// unfinished draws a record that is claimed by a living producer.
	unfinished := func(t *rapid.T) *modelRecord {
		var some []int
		for i, c := range m.records {
			if c.state == ring.StateClaimed && !producers[c.by].dead {
				some = append(some, i)
			}
		}
		if len(some) == 0 {
			t.Skip("nothing is reserved")
		}
		return &m.records[rapid.SampledFrom(some).Draw(t, "record")]
	}
	next := func(t *rapid.T) {
		p, ok := consumer.Next()
		for len(m.records) > 0 {
			if c := m.records[0]; c.state == ring.StateAborted || c.state == ring.StateClaimed && producers[c.by].dead {
				m.pass()
				continue
			}
			break
		}
		if want := len(m.records) > 0 && m.records[0].state == ring.StateCommitted; ok != want {
			t.Fatalf("Next: %v, want %v; %v", ok, want, consumer.Err())
		}
		if ok && !bytes.Equal(p, record(m.records[0].id, m.records[0].length)) {
			t.Fatalf("Next: % x, want record %d of %d bytes", p, m.records[0].id, m.records[0].length)
		}
		inHand = ok
	}
	t.Repeat(map[string]func(t *rapid.T){
		"write": func(t *rapid.T) {
			i, n := draw(t)
			written++
			ok, want := producers[i].TryWrite(record(written, n)), m.claim(written, n)
			if ok != want {
				t.Fatalf("TryWrite of %d bytes: %v, want %v", n, ok, want)
			}
			if ok {
				c := &m.records[len(m.records)-1]
				c.state, c.length, c.by = ring.StateCommitted, n, i
			}
		},
		"reserve": func(t *rapid.T) {
			i, n := draw(t)
			written++
			h, ok := producers[i].Reserve(n)
			if want := m.claim(written, n); ok != want || len(h.Data) != n && ok {
				t.Fatalf("Reserve(%d): %d bytes, %v, want %v", n, len(h.Data), ok, want)
			}
			if ok {
				c := &m.records[len(m.records)-1]
				c.handle, c.by = h, i
			}
		},
		"commit": func(t *rapid.T) {
			c := unfinished(t)
			c.length = rapid.IntRange(0, c.claimed).Draw(t, "length")
			fill(c.handle.Data[:c.length], c.id)
			c.handle.Commit(c.length)
			c.state = ring.StateCommitted
		},
		"abort": func(t *rapid.T) {
			c := unfinished(t)
			c.handle.Abort()
			c.state = ring.StateAborted
		},
		"next": next,
		"advance": func(t *rapid.T) {
			if !inHand {
				next(t)
			}
			if inHand {
				consumer.Advance()
				m.pass()
				inHand = false
			}
		},
		"producer dies": func(t *rapid.T) {
			i := alive(t)
			w.kill(producers[i].id)
			producers[i].dead = true
			addProducer()
		},
		"producer closes": func(t *rapid.T) {
			i := alive(t)
			producers[i].Close()
			producers[i].dead = true
			addProducer()
		},
		"consumer ends": func(t *rapid.T) {
			if rapid.Bool().Draw(t, "killed") {
				w.kill(consumerID)
			} else {
				consumer.Close()
			}
			consumer, consumerID = open()
			inHand = false
		},
		"": func(t *rapid.T) {
			if err := consumer.Err(); err != nil {
				t.Fatal(err)
			}
			for _, p := range producers {
				if err := p.Err(); err != nil && !p.dead {
					t.Fatal(err)
				}
			}
		},
	})
}
