package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"

	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/internal/wait"
	"github.com/shoal-ipc/shoal/ring"
	"github.com/shoal-ipc/shoal/shm"
)

// wide is an item of a cache line.
type wide [8]uint64

// record is one of a mebibyte.
type record [mebibyte]byte

const (
	mebibyte = 1 << 20
	// room is that of a ring of records in bytes.stream, bigRoom where they are of 64 KiB.
	room    = mebibyte
	bigRoom = 8 * mebibyte
	records = 2 // of a mebibyte, of a ring in zerocopy.pingpong and zerocopy.loan
)

// bigRings makes the rings that only one row has.
func bigRings(seg *shm.Segment, row string) (bs [2]*shm.Block, err error) {
	lay := func(i, size int, in func(mem []byte) error) {
		if err != nil {
			return
		}
		if bs[i], err = shm.NewBlock(seg, "", size); err == nil {
			err = in(bs[i].Bytes())
		}
	}
	topic, _, _ := strings.Cut(row, ".")
	switch {
	case row == "mpmc.stream.64B":
		lay(0, ring.MPMCSize[wide](slots), func(mem []byte) error { _, err := ring.NewMPMC[wide](mem, slots, seg); return err })
	case topic == "mpmc", topic == "queue":
		lay(0, ring.MPMCSize[uint64](slots), func(mem []byte) error { _, err := ring.NewMPMC[uint64](mem, slots, seg); return err })
	case row == "bytes.stream.64K":
		lay(0, ring.BytesSize(bigRoom), func(mem []byte) error { _, err := ring.NewBytes(mem, bigRoom, seg); return err })
	case topic == "bytes":
		lay(0, ring.BytesSize(room), func(mem []byte) error { _, err := ring.NewBytes(mem, room, seg); return err })
	case topic == "zerocopy":
		for i := range bs {
			lay(i, ring.SPSCSize[record](records), func(mem []byte) error { _, err := ring.NewSPSC[record](mem, records, seg); return err })
		}
	case topic == "broadcast":
		lay(0, ring.BroadcastSize[uint64](slots), func(mem []byte) error { _, err := ring.NewBroadcast[uint64](mem, slots, seg); return err })
	}
	return bs, err
}

// spscSleepTurns goes there and back through two rings; who waits sleeps at once.
func spscSleepTurns(ctx context.Context, p *part, m *meter) error {
	there, back, err := p.rings()
	if err != nil {
		return err
	}
	var words [2]*wait.Word
	for i := range words {
		if words[i], err = wait.New(p.Shared.Words.Bytes()[(first+i)*line:][:line]); err != nil {
			return err
		}
	}
	push := func(r *ring.SPSC[uint64], w *wait.Word, v uint64) {
		r.TryPush(v)
		w.Wake()
	}
	pop := func(r *ring.SPSC[uint64], w *wait.Word, ready func() bool) (uint64, error) {
		for {
			if v, ok := r.TryPop(); ok {
				return v, nil
			}
			if err := w.Wait(ctx, ready); err != nil {
				return 0, err
			}
		}
	}
	someThere := func() bool { return there.Len() > 0 }
	someBack := func() bool { return back.Len() > 0 }
	err = p.turns(m, func(i int) error {
		push(there, words[0], uint64(i))
		v, err := pop(back, words[1], someBack)
		if err != nil {
			return err
		}
		return expect(v, i)
	}, func(i int) error {
		v, err := pop(there, words[0], someThere)
		if err != nil {
			return err
		}
		push(back, words[1], v)
		return expect(v, i)
	})
	return errors.Join(err, there.Err(), back.Err())
}

// The lines of the board on which producers and consumers tell each other how far they are; those from boardMoved on are of
// each side.
const (
	boardReceived = iota // by all consumers, in parts of chunk
	boardStart           // sys.Monotonic when so many had been received as warm up
	boardEnd             // and when all had
	boardOver            // 1 then
	boardMoved
	boardLines = boardMoved + 8
)

// chunk is how many items a producer or consumer moves before it tells others.
const chunk = 64

// board is what they tell each other by.
type board []uint64

func (b board) at(i int) *uint64 { return &b[i*line/8] }
func (b board) over() bool       { return atomic.LoadUint64(b.at(boardOver)) != 0 }

// received says that a consumer has had chunk items more.
func (b board) received(n int) {
	first, all := uint64(warm(n)), uint64(warm(n)+n)
	now := atomic.AddUint64(b.at(boardReceived), chunk)
	if now-chunk < first && now >= first {
		atomic.StoreUint64(b.at(boardStart), uint64(sys.Monotonic()))
	}
	if now-chunk < all && now >= all {
		atomic.StoreUint64(b.at(boardEnd), uint64(sys.Monotonic()))
		atomic.StoreUint64(b.at(boardOver), 1)
	}
}

// order sees to it that the items of each side come in the order in which it sent them. It is inlined where it is used, and
// tells at the end.
type order struct {
	next [8]uint64
	late bool
}

func (o *order) see(item uint64) {
	from, number := item>>56&7, item&(1<<56-1)
	if number < o.next[from] {
		o.late = true
	}
	o.next[from] = number + 1
}

func pack(from int, number uint64) uint64 { return uint64(from)<<56 | number }

// idler is what who finds a ring full or empty does before the next trial: it pauses, since to look all the time takes the line
// away from whoever is about to change it, and when that was of no use it lets others have the CPU, who may be those it waits
// for.
type idler struct{ trials int }

func (i *idler) idle() {
	if i.trials++; i.trials%64 == 0 {
		sys.Yield()
		return
	}
	atomics.Pause(50)
}

// flow measures how long it takes until so many items have come from the first half of the sides, which produce, to the other
// half. Both move items until the board says that it is over, and return how many it was. Items tell from whom they are.
func (p *part) flow(m *meter, produce func(b board) uint64, consume func(b board, o *order) uint64) error {
	return p.Shared.Board.View(func(b []uint64) error {
		board, err := board(b), error(nil)
		p.meet()
		mine, half := uint64(0), p.Sides/2
		if p.Side < half {
			mine = produce(board)
		} else {
			var o order
			if mine = consume(board, &o); o.late {
				err = errors.New("bench: an item comes late")
			}
		}
		atomic.StoreUint64(board.at(boardMoved+p.Side), mine+1)
		sums := [2]uint64{}
		for i := range p.Sides {
			n := uint64(0)
			for n == 0 {
				n = atomic.LoadUint64(board.at(boardMoved + i))
				runtime.Gosched()
			}
			sums[i/half] += n - 1
		}
		m.s.Shares = append(m.s.Shares, float64(mine)/float64(max(sums[p.Side/half], 1))/2)
		m.s.NS = float64(*board.at(boardEnd)-*board.at(boardStart)) / float64(p.Job.N)
		return err
	})
}

// mpmc opens the ring of a row.
func mpmc[T any](p *part) (*ring.MPMC[T], error) {
	return ring.OpenMPMC[T](p.Shared.Big[0].Bytes(), p.Shared.Big[0].Segment())
}

func mpmcStream(ctx context.Context, p *part, m *meter) error {
	r, err := mpmc[uint64](p)
	if err != nil {
		return err
	}
	var wait idler
	err = p.flow(m, func(b board) (n uint64) {
		for !b.over() {
			for range chunk {
				for !r.TryPush(pack(p.Side, n)) {
					if b.over() {
						return n
					}
					wait.idle()
				}
				n++
			}
		}
		return n
	}, func(b board, o *order) (n uint64) {
		for {
			for range chunk {
				v, ok := r.TryPop()
				for !ok {
					if b.over() {
						return n
					}
					wait.idle()
					v, ok = r.TryPop()
				}
				o.see(v)
				n++
			}
			b.received(p.Job.N)
		}
	})
	return errors.Join(err, r.Err())
}

// mpmcLines is mpmcStream for items of a cache line: a loop of its own, since with a function for what differs a call for each
// item would be measured, too.
func mpmcLines(ctx context.Context, p *part, m *meter) error {
	r, err := mpmc[wide](p)
	if err != nil {
		return err
	}
	var wait idler
	err = p.flow(m, func(b board) (n uint64) {
		var v wide
		for !b.over() {
			for range chunk {
				for v[0] = pack(p.Side, n); !r.TryPush(v); {
					if b.over() {
						return n
					}
					wait.idle()
				}
				n++
			}
		}
		return n
	}, func(b board, o *order) (n uint64) {
		for {
			for range chunk {
				v, ok := r.TryPop()
				for !ok {
					if b.over() {
						return n
					}
					wait.idle()
					v, ok = r.TryPop()
				}
				o.see(v[0])
				n++
			}
			b.received(p.Job.N)
		}
	})
	return errors.Join(err, r.Err())
}

func mpmcBatch(ctx context.Context, p *part, m *meter) error {
	r, err := mpmc[uint64](p)
	if err != nil {
		return err
	}
	var wait idler
	err = p.flow(m, func(b board) (n uint64) {
		var vs [batch]uint64
		for !b.over() {
			for i := range vs {
				vs[i] = pack(p.Side, n+uint64(i))
			}
			for sent := 0; sent < batch; {
				k := r.TryPushMany(vs[sent:])
				if k == 0 {
					if b.over() {
						return n + uint64(sent)
					}
					wait.idle()
				}
				sent += k
			}
			n += batch
		}
		return n
	}, func(b board, o *order) (n uint64) {
		var vs [batch]uint64
		for told := uint64(0); ; {
			k := r.TryPopMany(vs[:])
			if k == 0 {
				if b.over() {
					return n
				}
				wait.idle()
			}
			for _, v := range vs[:k] {
				o.see(v)
			}
			for n += uint64(k); n-told >= chunk; told += chunk {
				b.received(p.Job.N)
			}
		}
	})
	return errors.Join(err, r.Err())
}

// bytesStream copies records into the ring and reads a byte of each of their lines where they lie.
func bytesStream(ctx context.Context, p *part, m *meter) error {
	touch(p.Shared.Big[0].Bytes())
	r, err := ring.OpenBytes(p.Shared.Big[0].Bytes(), p.Shared.Big[0].Segment())
	if err != nil {
		return err
	}
	record := make([]byte, sizeOf(p.Job.Row))
	for i := range record {
		record[i] = byte(i / 64)
	}
	err = p.stream(m, func(from, to int) error {
		for i := from; i < to; {
			if r.TryWrite(record) {
				i++
			}
		}
		return nil
	}, func(from, to int) error {
		for i := from; i < to; {
			b, ok := r.Next()
			if !ok {
				continue // at once: for small records to pause made it twice as slow
			}
			if !whole(b, len(record)) {
				return fmt.Errorf("record %d is another", i)
			}
			r.Advance()
			i++
		}
		return nil
	})
	return errors.Join(err, r.Err())
}

// touch brings the pages of mem into the tables of this process, where those of the peers are from the beginning: a ring that has
// been in use for a while.
func touch(mem []byte) {
	sum := byte(0)
	for ; len(mem) > 0; mem = mem[min(len(mem), os.Getpagesize()):] {
		sum += mem[0]
	}
	runtime.KeepAlive(sum) // else nobody needs the loads
}

// whole reads a byte of each line of a record, which says what it has to be.
func whole(b []byte, size int) bool {
	sum, want := 0, 0
	for i := 0; i < len(b); i += 64 {
		sum += int(b[i])
		want += i / 64 & 255
	}
	return len(b) == size && sum == want
}

// sizeOf is how many bytes an operation of a row moves.
func sizeOf(name string) int {
	for _, r := range rows {
		if r.name == name {
			return r.size
		}
	}
	return 0
}

// broadcastStream is spsc.stream through a ring that could have more readers.
func broadcastStream(ctx context.Context, p *part, m *meter) error {
	b, err := ring.OpenBroadcast[uint64](p.Shared.Big[0].Bytes(), p.Shared.Big[0].Segment())
	if err != nil {
		return err
	}
	var wait idler
	if p.Side == 0 {
		return errors.Join(p.stream(m, func(from, to int) error {
			for i := uint64(from); i < uint64(to); i++ {
				for !b.TryPush(i) {
					wait.idle()
				}
			}
			return nil
		}, nil), b.Err())
	}
	r, err := b.Reader() // before the first item, for which the other side waits
	if err != nil {
		return err
	}
	return errors.Join(p.stream(m, nil, func(from, to int) error {
		for i := uint64(from); i < uint64(to); {
			v, lost, ok := r.TryPop()
			if !ok {
				wait.idle()
				continue
			}
			if lost != 0 || v != i {
				return expect(v, int(i))
			}
			i++
		}
		return nil
	}), r.Err())
}

// records opens the rings of mebibytes.
func (p *part) records() (there, back *ring.SPSC[record], err error) {
	var r [2]*ring.SPSC[record]
	for i, b := range p.Shared.Big {
		touch(b.Bytes())
		if r[i], err = ring.OpenSPSC[record](b.Bytes(), b.Segment()); err != nil {
			return nil, nil, err
		}
	}
	return r[0], r[1], nil
}

func reserve(r *ring.SPSC[record]) *record {
	for {
		if rs := r.Reserve(1); len(rs) == 1 {
			return &rs[0]
		}
	}
}

func next(r *ring.SPSC[record]) *record {
	for {
		if rs := r.Peek(1); len(rs) == 1 {
			return &rs[0]
		}
	}
}

// pattern is what is written to records, whole.
func pattern() []byte {
	b := make([]byte, mebibyte)
	for i := range b {
		b[i] = byte(i / 64)
	}
	return b
}

var errPattern = errors.New("bench: a record is another")

// zerocopyTurns writes a record and reads one, where they lie.
func zerocopyTurns(ctx context.Context, p *part, m *meter) error {
	there, back, err := p.records()
	if err != nil {
		return err
	}
	data := pattern()
	send := func(r *ring.SPSC[record]) {
		copy(reserve(r)[:], data)
		r.Commit(1)
	}
	receive := func(r *ring.SPSC[record]) error {
		ok := whole(next(r)[:], mebibyte)
		r.Advance(1)
		if !ok {
			return errPattern
		}
		return nil
	}
	err = p.turns(m, func(int) error {
		send(there)
		return receive(back)
	}, func(int) error {
		err := receive(there)
		send(back)
		return err
	})
	return errors.Join(err, there.Err(), back.Err())
}

// loanTurns passes records on untouched.
func loanTurns(ctx context.Context, p *part, m *meter) error {
	there, back, err := p.records()
	if err != nil {
		return err
	}
	send := func(r *ring.SPSC[record]) {
		reserve(r)
		r.Commit(1)
	}
	receive := func(r *ring.SPSC[record]) {
		next(r)
		r.Advance(1)
	}
	err = p.turns(m, func(int) error {
		send(there)
		receive(back)
		return nil
	}, func(int) error {
		receive(there)
		send(back)
		return nil
	})
	return errors.Join(err, there.Err(), back.Err())
}

// recordTurns writes and reads the same through a pipe, or a socket. In zerocopy.loan nobody looks at what came.
func recordTurns(ctx context.Context, p *part, m *meter) error {
	out, in, err := p.files()
	if err != nil {
		return err
	}
	data, buffer := pattern(), make([]byte, mebibyte)
	looks := p.Job.Row == "zerocopy.pingpong"
	send := func() error {
		_, err := out.Write(data)
		return err
	}
	receive := func() error {
		if _, err := io.ReadFull(in, buffer); err != nil {
			return err
		}
		if looks && !whole(buffer, mebibyte) {
			return errPattern
		}
		return nil
	}
	return p.turns(m, func(int) error { return errors.Join(send(), receive()) }, func(int) error { return errors.Join(receive(), send()) })
}

// streamPair is a Unix socket for more than messages.
func streamPair() (a, b *os.File, err error) {
	dir, err := os.MkdirTemp("", "shoal-bench-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	at := &net.UnixAddr{Name: filepath.Join(dir, "socket"), Net: "unix"}
	l, err := net.ListenUnix("unix", at)
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	dialed, err := net.DialUnix("unix", nil, at)
	if err != nil {
		return nil, nil, err
	}
	defer dialed.Close()
	accepted, err := l.AcceptUnix()
	if err != nil {
		return nil, nil, err
	}
	defer accepted.Close()
	if a, err = dialed.File(); err != nil {
		return nil, nil, err
	}
	if b, err = accepted.File(); err != nil {
		a.Close()
	}
	return a, b, err
}
