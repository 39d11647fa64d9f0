package ring_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/anishathalye/porcupine"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/ring"
)

// broadcastPushers and broadcastPoppers are the ways to move a stream of numbers, which are their positions. A popper
// returns how many were lost before what it got.
var broadcastPushers = map[string]func(b *ring.Broadcast[uint64], at, n uint64) uint64{
	"TryPush": func(b *ring.Broadcast[uint64], at, n uint64) uint64 {
		if b.TryPush(at) {
			return 1
		}
		return 0
	},
	"TryPushMany": func(b *ring.Broadcast[uint64], at, n uint64) uint64 {
		var vs [7]uint64
		for i := range vs {
			vs[i] = at + uint64(i)
		}
		return uint64(b.TryPushMany(vs[:min(n, 7)]))
	},
	"Reserve": func(b *ring.Broadcast[uint64], at, n uint64) uint64 {
		room := b.Reserve(int(min(n, 5)))
		for i := range room {
			room[i] = at + uint64(i)
		}
		b.Commit(len(room))
		return uint64(len(room))
	},
}

var broadcastPoppers = []func(r *ring.Reader[uint64], buf []uint64) ([]uint64, uint64){
	func(r *ring.Reader[uint64], buf []uint64) ([]uint64, uint64) {
		if v, lost, ok := r.TryPop(); ok {
			return append(buf[:0], v), lost
		}
		return nil, 0
	},
	func(r *ring.Reader[uint64], buf []uint64) ([]uint64, uint64) {
		n, lost := r.TryPopMany(buf)
		return buf[:n], lost
	},
	func(r *ring.Reader[uint64], buf []uint64) ([]uint64, uint64) {
		n := copy(buf, r.Peek(6))
		r.Advance(n)
		return buf[:n], 0
	},
}

// follow reads numbers with r up to the last one, in the way of the popper, and checks that each is the one after
// the one before and those that were lost. It begins anywhere from first on.
func follow(r *ring.Reader[uint64], how int, first, last uint64, enough func(seen uint64) bool) (next uint64, err error) {
	buf := make([]uint64, 9)
	begun := false
	for seen := uint64(0); !enough(seen); {
		got, lost := broadcastPoppers[how](r, buf)
		if len(got) == 0 {
			if r.Err() != nil {
				return next, r.Err()
			}
			runtime.Gosched()
			continue
		}
		if !begun {
			if next, begun = got[0]-lost, true; next < first {
				return next, fmt.Errorf("begins at %d, joined at %d", next, first)
			}
		}
		next += lost
		for _, v := range got {
			if v != next {
				return next, fmt.Errorf("item %d is %d, %d lost", next, v, lost)
			}
			next++
		}
		if seen += uint64(len(got)); next == last {
			return next, nil
		}
	}
	return next, nil
}

// TestBroadcastConcurrent moves numbers from one goroutine to several, which join when nothing was pushed yet and see
// all of them, and to others that come and go all the time, across the wrap-around of positions.
func TestBroadcastConcurrent(t *testing.T) {
	items := uint64(30_000)
	if testing.Short() || race.Enabled {
		items = 1_000
	}
	for _, o := range kinds {
		for name, push := range broadcastPushers {
			for _, n := range []int{1, 4, 64} {
				t.Run(fmt.Sprintf("%s/%s/slots=%d", kindName(o), name, n), func(t *testing.T) {
					mem, b := newBroadcast[uint64](t, n, self(1), o)
					ring.StartAt[uint64](mem, -items/2)
					var pushed atomic.Uint64
					var wg sync.WaitGroup
					ways := 3
					if o.Lossy {
						ways = 2
					}
					for how := range ways {
						r := join(t, openBroadcast[uint64](t, mem, self(2)))
						wg.Go(func() {
							next, err := follow(r, how, 0, items, func(uint64) bool { return t.Failed() })
							if t.Failed() {
								return
							}
							if err != nil || next != items {
								t.Errorf("reader in way %d: at %d of %d: %v", how, next, items, err)
							}
							r.Close()
						})
						wg.Go(func() { // who comes and goes
							h := openBroadcast[uint64](t, mem, self(3))
							for pushed.Load() < items && !t.Failed() {
								first := pushed.Load()
								r, err := h.Reader()
								if err != nil {
									t.Error(err)
									return
								}
								_, err = follow(r, how, first, items, func(seen uint64) bool { return seen > first%13 || pushed.Load() == items || t.Failed() })
								if err != nil {
									t.Errorf("a reader that came at %d: %v", first, err)
								}
								r.Close()
							}
						})
					}
					for at := uint64(0); at < items && !t.Failed(); {
						n := push(b, at, items-at)
						at += n
						if pushed.Store(at); n == 0 || o.Lossy && at%5 == 0 {
							runtime.Gosched()
						}
					}
					wg.Wait()
					if b.Err() != nil {
						t.Error(b.Err())
					}
				})
			}
		}
	}
}

// TestBroadcastTorn: items that take long to copy are whole or counted as lost, never mixed.
func TestBroadcastTorn(t *testing.T) {
	items := uint64(20_000)
	if testing.Short() || race.Enabled {
		items = 1_000
	}
	for _, n := range []int{1, 2, 8} {
		mem, b := newBroadcast[[65]uint64](t, n, self(1), options{Lossy: true})
		var wg sync.WaitGroup
		for range 2 {
			r := join(t, openBroadcast[[65]uint64](t, mem, self(2)))
			wg.Go(func() {
				for next := uint64(0); next != items; {
					v, lost, ok := r.TryPop()
					if !ok {
						if r.Err() != nil {
							t.Error(r.Err())
							return
						}
						runtime.Gosched()
						continue
					}
					next += lost
					for i, x := range v {
						if x != next {
							t.Errorf("word %d of item %d is %d", i, next, x)
							return
						}
					}
					next++
				}
			})
		}
		var v [65]uint64
		for i := range items {
			for k := range v {
				v[k] = i
			}
			b.TryPush(v)
			if i%7 == 0 {
				runtime.Gosched()
			}
		}
		wg.Wait()
	}
}

// What operations on a blocking ring do, for the checker of linearizability.
type (
	castInput struct {
		op     byte // push, join, look (pop), close
		reader int
		value  int
	}
	castOutput struct {
		ok    bool
		value int
	}
	// castState is what was pushed, as a number since values are positions, and where each reader is; -1: nowhere.
	castState struct {
		pushed  int
		readers [3]int
	}
)

// castModel is the exact promise of a blocking ring of so many slots: a push fails if and only if a reader that has
// joined and not left has not read the last so many items; a pop finds nothing if and only if all was read.
func castModel(slots int) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return castState{readers: [3]int{-1, -1, -1}} },
		Step: func(state, input, output any) (bool, any) {
			s, in, out := state.(castState), input.(castInput), output.(castOutput)
			at := &s.readers[in.reader]
			switch in.op {
			case 'p':
				full := false
				for _, r := range s.readers {
					full = full || r >= 0 && s.pushed-r == slots
				}
				if out.ok {
					s.pushed++
				}
				return out.ok != full, s
			case 'j':
				*at = s.pushed
				return true, s
			case 'l':
				if there := *at < s.pushed; there != out.ok || there && out.value != *at {
					return false, s
				}
				if out.ok {
					*at++
				}
				return true, s
			}
			*at = -1
			return true, s
		},
		Equal: func(a, b any) bool { return a == b },
	}
}

// castHistory lets a producer and three readers work on a ring at once and records what they did.
func castHistory(t *testing.T, rnd *rand.Rand, slots int, start uint64, spoil func(castInput, *castOutput)) []porcupine.Operation {
	mem, b := newBroadcast[uint64](t, slots, self(1), options{Readers: 3})
	ring.StartAt[uint64](mem, start)
	// Times are numbers from an atomic counter, not from a clock: a position is published by an ordinary store, which
	// may be on its way for some nanoseconds after TryPush has returned. Who learns of the return by way of memory, as
	// from this counter, sees what was published before.
	var clock atomic.Int64
	var mu sync.Mutex
	var history []porcupine.Operation
	do := func(client int, in castInput, f func() castOutput) castOutput {
		call := clock.Add(1)
		out := f()
		end := clock.Add(1)
		if spoil != nil {
			spoil(in, &out)
		}
		mu.Lock()
		defer mu.Unlock()
		history = append(history, porcupine.Operation{ClientId: client, Input: in, Output: out, Call: call, Return: end})
		return out
	}
	var wg sync.WaitGroup
	for i := range 3 {
		rnd := rand.New(rand.NewPCG(rnd.Uint64(), 0))
		h := openBroadcast[uint64](t, mem, self(2+uint32(i)))
		wg.Go(func() {
			for range 2 {
				var r *ring.Reader[uint64]
				do(i, castInput{op: 'j', reader: i}, func() castOutput {
					var err error
					if r, err = h.Reader(); err != nil {
						t.Error(err)
					}
					return castOutput{}
				})
				if r == nil {
					return
				}
				for range 2 + rnd.IntN(6) {
					if rnd.IntN(3) == 0 {
						runtime.Gosched()
					}
					do(i, castInput{op: 'l', reader: i}, func() castOutput {
						v, _, ok := r.TryPop()
						return castOutput{ok, int(v)}
					})
				}
				do(i, castInput{op: 'c', reader: i}, func() castOutput { r.Close(); return castOutput{} })
			}
		})
	}
	pushed := 0
	for range 14 {
		if rnd.IntN(3) == 0 {
			runtime.Gosched()
		}
		out := do(3, castInput{op: 'p', value: pushed}, func() castOutput { return castOutput{ok: b.TryPush(uint64(pushed))} })
		if out.ok {
			pushed++
		}
	}
	wg.Wait()
	return history
}

// TestBroadcastLinearizable checks many short histories of a blocking ring against the model.
func TestBroadcastLinearizable(t *testing.T) {
	rnd := proctest.Rand(t)
	n := 1000
	if testing.Short() || race.Enabled {
		n = 100
	}
	for i := range n {
		slots := 1 << (i % 3)
		history := castHistory(t, rnd, slots, broadcastStarts[i%len(broadcastStarts)], nil)
		if !porcupine.CheckOperations(castModel(slots), history) {
			var b strings.Builder
			for _, op := range history {
				fmt.Fprintf(&b, "%d-%d client %d: %c %v\n", op.Call, op.Return, op.ClientId, op.Input.(castInput).op, op.Output)
			}
			t.Fatalf("%d slots: not linearizable:\n%s", slots, b.String())
		}
	}
	// The checker notices an item that comes twice.
	caught := false
	for i := 0; i < 100 && !caught; i++ {
		caught = !porcupine.CheckOperations(castModel(4), castHistory(t, rnd, 4, 0, func(in castInput, out *castOutput) {
			if in.op == 'l' && out.ok && out.value > 0 {
				out.value--
			}
		}))
	}
	if !caught {
		t.Error("the checker finds nothing wrong with items that come twice")
	}
}

// TestBroadcastJoinLitmus lets a reader come and go while the producer, whom nobody else holds back, looks at the cells
// with every other push. The first item is the one of the place where the reader has joined: neither side may miss the
// other's store. (A look without its barrier fails this often, not always, and only with two processors.)
func TestBroadcastJoinLitmus(t *testing.T) {
	joins := 1_000
	if runtime.GOMAXPROCS(0) == 1 {
		joins = 10
	} else if testing.Short() || race.Enabled {
		joins = 300
	}
	for _, n := range []int{1, 2} {
		mem, b := newBroadcast[uint64](t, n, self(1), options{Readers: 1})
		h := openBroadcast[uint64](t, mem, self(2))
		var done atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			for at := uint64(0); !done.Load(); { // without giving way, or it hardly ever meets a reader that joins
				if b.TryPush(at) {
					at++
				}
			}
		})
		for i := range joins {
			r := join(t, h)
			place := r.CellWord() & (1<<31 - 1)
			v, _, ok := r.TryPop()
			for tries := 0; !ok && r.Err() == nil; tries++ {
				if tries > 100 {
					runtime.Gosched()
				}
				v, _, ok = r.TryPop()
			}
			if v&(1<<31-1) != place || r.Err() != nil {
				t.Errorf("join %d: the first item at %#x is %#x, %v", i, place, v, r.Err())
				break
			}
			r.Close()
		}
		done.Store(true)
		wg.Wait()
		if b.Err() != nil {
			t.Error(b.Err())
		}
	}
}
