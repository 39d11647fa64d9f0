package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/array"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/queue"
	"github.com/shoal-ipc/shoal/ring"
	"github.com/shoal-ipc/shoal/shm"
	"github.com/shoal-ipc/shoal/value"
)

// world is what the processes share.
type world struct {
	Seed uint64 // of the process's random numbers
	Late bool   // the process comes when others are there

	Lock     *locks.Lock
	Plain    *shm.Block          // words that Lock guards and nothing else: see the constants
	Accounts *array.Array[int64] // guarded by Lock; their sum never changes while nobody holds it
	Intent   *value.Value[intent]
	Pair     *value.Value[pair]
	Nest     *locks.RLock     // guards two words of Plain
	Permits  *locks.Semaphore // as many as there are words in Plain for those who hold one; they come back from the dead
	Gate     *locks.Event     // is set for a moment now and then
	Shelf    shelf
	Meeting  *locks.Barrier // of two
	Readers  *locks.RWLock  // guards two words of Plain
	Jobs     *queue.JoinableQueue[job]
	Ring     *shm.Block // an SPSC ring in which position p has the number p
	Done     *value.Atomic[int]
	// Grandchildren that were about to be started, that ran, and that were joined.
	Starting, Ran, Joined *value.Atomic[int]
}

// Where the words of world.Plain are: two that are equal while nobody holds the lock, which number the
// consumer of the ring expects, which is its owner's, two that are equal while nobody holds the recursive lock, and those
// of the permits.
const (
	plainX = 0
	plainY = 128
	seen   = 256
	nestX  = 384
	nestY  = 512
	inside = 640 // two words, of the owner ids of those who hold a permit
)

// Where the positions of a ring are (package ring, Layout), the low half of each.
const (
	tailAt = 128
	headAt = 256
)

// names is how many values with names there come to be.
const names = 10_000

// pair is a value whose halves are equal.
type pair struct{ A, B uint64 }

// intent is what the holder of the lock is about to do, so that the next one can finish it.
type intent struct {
	Busy     uint32
	From, To uint32
	A, B     int64 // what the two accounts are to have
}

// transfer moves an amount between two accounts, in steps between which a process may be killed.
func (w world) transfer(ctx context.Context, r *rand.Rand) error {
	err := w.Lock.Acquire(ctx)
	if errors.Is(err, locks.ErrOwnerDied) {
		err = w.Lock.Recover(ctx, w.finish)
	}
	if err != nil {
		return err
	}
	x, y := w.Plain.Uint32(plainX), w.Plain.Uint32(plainY)
	n := x.Load()
	x.Store(n + 1)
	linger(r)
	if m := y.Load(); m != n {
		return fmt.Errorf("two hold the lock, or a death was forgotten: %d and %d", n, m)
	}
	y.Store(n + 1)

	accounts := uint32(w.Accounts.Len())
	from := r.Uint32N(accounts)
	to := (from + 1 + r.Uint32N(accounts-1)) % accounts
	amount := r.Int64N(10)
	w.Intent.Store(intent{1, from, to, w.Accounts.Load(int(from)) - amount, w.Accounts.Load(int(to)) + amount})
	if err := w.finish(); err != nil {
		return err
	}
	return w.Lock.Release()
}

// linger takes some time, so that others come to wait and kills fall here too.
func linger(r *rand.Rand) {
	for range r.IntN(100) {
		runtime.Gosched()
	}
}

// finish does what the last holder of the lock had begun, as often as it takes; the lock is held.
func (w world) finish() error {
	w.Plain.Uint32(plainY).Store(w.Plain.Uint32(plainX).Load())
	i := w.Intent.Load()
	if i.Busy == 0 {
		return nil
	}
	if int(i.From) >= w.Accounts.Len() || int(i.To) >= w.Accounts.Len() {
		return fmt.Errorf("an intent that is no intent: %+v", i)
	}
	w.Accounts.Store(int(i.From), i.A)
	w.Accounts.Store(int(i.To), i.B)
	w.Intent.Store(intent{})
	return nil
}

// raise adds one to both halves of a value.
func raise(p *pair) error {
	if p.A != p.B {
		return fmt.Errorf("half a value: %v", *p)
	}
	p.A++
	p.B++
	return nil
}

// nest takes the recursive lock twice, and changes something each time.
func (w world) nest(ctx context.Context, r *rand.Rand) error {
	o := w.Nest.Owner()
	x, y := w.Plain.Uint32(nestX), w.Plain.Uint32(nestY)
	err := o.Acquire(ctx)
	if errors.Is(err, locks.ErrOwnerDied) {
		err = o.Recover(ctx, func() error {
			y.Store(x.Load())
			return nil
		})
	}
	if err != nil {
		return err
	}
	n := x.Load()
	x.Store(n + 1)
	linger(r)
	if err := o.Acquire(ctx); err != nil {
		return err
	}
	if m := y.Load(); m != n {
		return fmt.Errorf("two hold the recursive lock, or a death was forgotten: %d and %d", n, m)
	}
	y.Store(n + 1)
	return errors.Join(o.Release(), o.Release())
}

// permit takes a permit and one of the places, of which there is one for each permit.
func (w world) permit(ctx context.Context, r *rand.Rand) error {
	if err := w.Permits.Acquire(ctx); err != nil {
		return err
	}
	seg := w.Permits.Segment()
	for at := 0; ; at++ {
		if at == permits {
			return fmt.Errorf("%d hold a permit already", permits)
		}
		place := w.Plain.Uint32(inside + 4*at)
		if id := place.Load(); id != 0 && !seg.Dead(id) || !place.CompareAndSwap(id, seg.Self()) {
			continue
		}
		linger(r)
		place.Store(0)
		return w.Permits.Release()
	}
}

// gate opens the gate for those who wait at this moment, or waits a while.
func (w world) gate(ctx context.Context, r *rand.Rand) error {
	if r.IntN(2) == 0 {
		return errors.Join(w.Gate.Set(), w.Gate.Clear())
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if err := w.Gate.Wait(ctx); err != nil && err != context.DeadlineExceeded {
		return err
	}
	return nil
}

// permits is how many there are.
const permits = 2

// name finds or makes the value with a name that others may be about to make or remove too, and raises it; and
// sometimes removes it.
func (w world) name(ctx context.Context, r *rand.Rand) error {
	seg, name := w.Lock.Segment(), fmt.Sprint("value ", w.Done.Load()/20%names)
	v, err := value.OpenOrNew(seg, name, pair{})
	if errors.Is(err, shm.ErrNoSpace) {
		return nil
	}
	if err != nil {
		return err
	}
	if r.IntN(20) == 0 {
		if err := seg.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return errors.Join(v.Update(ctx, raise), v.Close())
}

// lend finds or makes a block whose bytes are all equal, and looks whether they are for as long as it has it open,
// also when it is removed.
func (w world) lend(r *rand.Rand) error {
	seg, name := w.Lock.Segment(), fmt.Sprint("block ", r.IntN(20))
	b, err := shm.OpenBlock(seg, name)
	if errors.Is(err, fs.ErrNotExist) {
		x := byte(1 + r.IntN(255))
		var ref shm.Ref
		_, err = shm.Kind{Name: "block"}.New(&ref, seg, name, 1+r.IntN(3000), func(mem []byte) error {
			for i := range mem {
				mem[i] = x
			}
			return nil
		})
		runtime.KeepAlive(&ref)
		if errors.Is(err, fs.ErrExist) || errors.Is(err, shm.ErrNoSpace) {
			return nil
		}
		return err
	}
	if err != nil {
		return err
	}
	if r.IntN(3) == 0 {
		if err := seg.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	err = b.Close()
	for range r.IntN(5) {
		for i, x := range b.Bytes() {
			if x == 0 || x != b.Bytes()[0] {
				return fmt.Errorf("byte %d of %q is another's", i, name)
			}
		}
		runtime.Gosched()
	}
	return err
}

// ring takes an end of the ring, if that is to be had, uses it for a while, and gives it back.
func (w world) ring(r *rand.Rand) error {
	q, err := ring.OpenSPSC[uint64](w.Ring.Bytes(), w.Ring.Segment())
	if err != nil {
		return err
	}
	defer q.Close()
	take, use := q.Produce, w.push
	if r.IntN(2) == 0 {
		take, use = q.Consume, w.pop
	}
	if err := take(); err != nil {
		if errors.Is(err, ring.ErrBusy) {
			return nil
		}
		return err
	}
	return errors.Join(use(q, r.IntN(100)), q.Err())
}

// push appends up to n numbers; the producer's end is this process's.
func (w world) push(q *ring.SPSC[uint64], n int) error {
	for at := uint64(w.Ring.Uint32(tailAt).Load()); n > 0 && q.TryPush(at); n-- {
		at++
	}
	return nil
}

// pop takes up to n numbers; the consumer's end is this process's. Each is noted before it is freed, so that
// the one that a dead consumer was about to free comes once more, and none is missed.
func (w world) pop(q *ring.SPSC[uint64], n int) error {
	next := w.Plain.Uint32(seen)
	if head, n := w.Ring.Uint32(headAt).Load(), next.Load(); n != head && n != head+1 {
		return fmt.Errorf("%d numbers were seen, %d freed", n, head)
	}
	for again := true; n > 0; n-- {
		items := q.Peek(1)
		if len(items) == 0 {
			return nil
		}
		got, want := items[0], uint64(next.Load())
		if got != want && !(again && got+1 == want) {
			return fmt.Errorf("number %d comes after %d", got, want-1)
		}
		again = false
		next.Store(uint32(got + 1))
		q.Advance(1)
	}
	return nil
}

// grandchild is what a process of the test starts: it takes part, and ends.
var grandchild = process.Register("grandchild", func(ctx context.Context, w world) error {
	w.Ran.Add(1)
	return w.Pair.Update(ctx, raise)
})

func (w world) start(ctx context.Context) error {
	w.Starting.Add(1)
	if err := process.Run(ctx, grandchild, w); err != nil {
		return err
	}
	w.Joined.Add(1)
	return nil
}

// memory takes memory, of which there may be no more, and a participant, and gives that back.
func (w world) memory(r *rand.Rand) error {
	seg, mine := w.Lock.Segment(), byte(1+r.IntN(255))
	for range 10 {
		at, mem, err := seg.Allocate(1 << r.IntN(14))
		if errors.Is(err, shm.ErrNoSpace) {
			continue
		}
		if err != nil {
			return err
		}
		for i := range mem {
			mem[i] = mine
		}
		linger(r)
		for i := range mem {
			if mem[i] != mine {
				return fmt.Errorf("byte %d of memory at %d is another's", i, at)
			}
		}
		if err := seg.Deallocate(at); err != nil {
			return err
		}
	}
	b, err := shm.NewBlock(seg, "", 64)
	if err == nil {
		err = errors.Join(shm.Free(b), b.Close())
	}
	if err != nil && !errors.Is(err, shm.ErrNoSpace) {
		return err
	}
	gift, err := seg.Prepare()
	if err == nil {
		gift.Abandon()
	}
	return err
}

// busy does everything until its context ends, which for most comes by SIGKILL.
var busy = proctest.NewRole("chaos", func(ctx context.Context, c *proctest.Child, w world) error {
	r := rand.New(rand.NewPCG(w.Seed, 0))
	s, err := w.hire(ctx, r)
	if err != nil {
		return err
	}
	c.Say("ready")
	for {
		err := errors.Join(w.transfer(ctx, r), w.Pair.Update(ctx, raise), w.ring(r), w.nest(ctx, r), w.permit(ctx, r), s.order(),
			w.read(ctx, r), w.work(r))
		switch n := r.IntN(400); {
		case n == 0:
			err = errors.Join(err, w.start(ctx))
		case n < 3:
			err = errors.Join(err, w.Lock.Segment().Check())
		case n < 10:
			err = errors.Join(err, w.memory(r))
		case n < 100:
			err = errors.Join(err, w.lend(r))
		case n < 200:
			err = errors.Join(err, w.name(ctx, r))
		case n < 270:
			err = errors.Join(err, w.gate(ctx, r))
		case n < 310:
			err = errors.Join(err, w.meet(ctx))
		case n < 320:
			err = errors.Join(err, s.close(ctx))
		default:
			err = errors.Join(err, w.write(ctx, r))
		}
		if err != nil {
			return err
		}
		w.Done.Add(1)
	}
})

func newWorld(t testing.TB) (w world) {
	seg := proctest.Segment(t, 256<<20)
	accounts := make([]int64, 16)
	for i := range accounts {
		accounts[i] = 1000
	}
	var errs [17]error
	w.Lock, errs[0] = locks.NewLock(seg, "lock")
	w.Plain, errs[1] = shm.NewBlock(seg, "", plain)
	w.Accounts, errs[2] = array.From(seg, "accounts", accounts, array.Options{Unlocked: true})
	w.Intent, errs[3] = value.New(seg, "", intent{}, value.Options{Unlocked: true})
	w.Pair, errs[4] = value.New(seg, "", pair{})
	w.Ring, errs[5] = shm.NewBlock(seg, "", ring.SPSCSize[uint64](64))
	w.Done, errs[6] = value.NewAtomic(seg, "", 0)
	w.Starting, errs[7] = value.NewAtomic(seg, "", 0)
	w.Ran, errs[8] = value.NewAtomic(seg, "", 0)
	w.Joined, errs[9] = value.NewAtomic(seg, "", 0)
	w.Nest, errs[10] = locks.NewRLock(seg, "")
	w.Permits, errs[11] = locks.NewSemaphore(seg, "", permits, locks.SemaphoreOptions{Recover: true})
	w.Gate, errs[12] = locks.NewEvent(seg, "")
	errs[13] = newShelf(&w)
	w.Meeting, errs[14] = locks.NewBarrier(seg, "", 2)
	w.Jobs, errs[16] = queue.NewJoinable[job](seg, "", 8)
	w.Readers, errs[15] = locks.NewRWLock(seg, "")
	proctest.Must(t, errors.Join(errs[:]...))
	_, err := ring.NewSPSC[uint64](w.Ring.Bytes(), 64, seg)
	proctest.Must(t, err)
	return w
}

// TestChaos kills and stops processes at random while they use everything there is, on one segment. Nobody
// hangs, nothing is lost, doubled or done by half, the segment is sound at any time, and the work goes on after
// each death.
func TestChaos(t *testing.T) {
	kills, stop := 100, time.Now().Add(proctest.Stress(0))
	if testing.Short() {
		kills = 5
	}
	r := proctest.Rand(t)
	w := newWorld(t)
	seg := w.Lock.Segment()

	var running []*proctest.Proc
	start := func() {
		w.Seed, w.Late = r.Uint64(), len(running) > 0
		p := busy.Start(t, w)
		p.WaitLine("ready")
		running = append(running, p)
	}
	for range 3 {
		start()
	}
	pause := func() {
		for range r.IntN(2000) {
			runtime.Gosched()
		}
	}
	ended := len(running)
	for n := 0; n < kills || time.Now().Before(stop); n++ {
		i := r.IntN(len(running))
		p, before, taken := running[i], w.Done.Load(), w.Plain.Uint32(takenAt).Load()
		pause()
		stopped := r.IntN(3) == 0 // and killed in that state, or continued
		if stopped {
			p.Stop()
			pause()
		}
		proctest.Must(t, seg.Check())
		if stopped && r.IntN(2) == 0 {
			p.Continue()
		} else {
			p.Kill()
			if p.ExitCode() != -9 {
				t.Fatalf("it ended by itself: %v", p.Wait())
			}
			running = append(running[:i], running[i+1:]...)
			ended++
			start()
		}
		for w.Done.Load() == before || w.Plain.Uint32(takenAt).Load() == taken { // they go on
			runtime.Gosched()
			for _, p := range running {
				if !p.Process().Alive() {
					t.Fatalf("it ended by itself: %v", p.Wait())
				}
			}
		}
	}
	for w.Joined.Load() == 0 || w.Plain.Uint32(seen).Load() == 0 || w.Plain.Uint32(passedAt).Load() == 0 { // with some luck they were all killed before
		runtime.Gosched()
	}
	for _, p := range running {
		p.Kill()
		if p.ExitCode() != -9 {
			t.Errorf("it ended by itself: %v", p.Wait())
		}
	}
	w.verify(t)
	w.verifyWaiting(t, ended)
	w.verifyWork(t, ended)
}

// verify checks what is left when all have ended.
func (w world) verify(t *testing.T) {
	ctx, seg := t.Context(), w.Lock.Segment()
	for seg.Info().Living > 1 { // grandchildren end when they find that their parents are dead
		time.Sleep(time.Millisecond)
	}
	_, err := seg.Repair()
	proctest.Must(t, err)
	if n, err := seg.Repair(); n != 0 || err != nil || seg.Info().Dead != 0 {
		t.Errorf("after a sweep %d blocks of nobody, and dead participants: %d; %v", n, seg.Info().Dead, err)
	}
	proctest.Must(t, seg.Check())

	proctest.Must(t, w.Lock.Recover(ctx, w.finish))
	sum := int64(0)
	for _, x := range w.Accounts.All() {
		sum += x
	}
	if want := int64(w.Accounts.Len()) * 1000; sum != want {
		t.Errorf("the accounts have %d in all, want %d", sum, want)
	}
	if x, y := w.Plain.Uint32(plainX).Load(), w.Plain.Uint32(plainY).Load(); x != y || int(x) < w.Done.Load() {
		t.Errorf("%d and %d transfers for %d rounds", x, y, w.Done.Load())
	}
	proctest.Must(t, w.Lock.Release())

	proctest.Must(t, w.Nest.Owner().Recover(ctx, nil))
	if n := w.Permits.Value(); n != permits {
		t.Errorf("%d permits are left of %d", n, permits)
	}

	q, err := ring.OpenSPSC[uint64](w.Ring.Bytes(), seg)
	proctest.Must(t, err)
	proctest.Must(t, errors.Join(q.Produce(), q.Consume()))
	proctest.Must(t, w.pop(q, q.Cap()+1))
	if tail, n := w.Ring.Uint32(tailAt).Load(), w.Plain.Uint32(seen).Load(); n != tail || n == 0 {
		t.Errorf("%d numbers were pushed, %d came", tail, n)
	}
	for i := range names {
		v, err := value.Open[pair](seg, fmt.Sprint("value ", i))
		if err == nil {
			proctest.Must(t, v.Update(ctx, raise))
		}
	}
	p, err := w.Pair.Get(ctx)
	proctest.Must(t, err)
	proctest.Must(t, raise(&p))
	if s, r, j := w.Starting.Load(), w.Ran.Load(), w.Joined.Load(); j > r || r > s || j == 0 {
		t.Errorf("of %d grandchildren %d ran and %d were joined", s, r, j)
	}
	if ps := seg.Participants(); len(ps) == 0 || seg.Dead(seg.Self()) {
		t.Errorf("process %d is no participant: %+v", os.Getpid(), ps)
	}
	t.Logf("%d rounds, %d numbers, %d grandchildren, %d objects",
		w.Done.Load(), w.Plain.Uint32(seen).Load(), w.Joined.Load(), seg.Info().Objects)
}
