package locks_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/array"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/shm"
	"github.com/shoal-ipc/shoal/value"
)

// bank is what the processes of the chaos test share: accounts whose sum never changes while nobody holds the
// lock.
type bank struct {
	Lock     *locks.Lock
	Accounts *array.Array[int64] // guarded by Lock
	Intent   *value.Value[intent]
	Pair     *value.Value[[2]uint64] // its halves are equal
	Done     *value.Atomic[int]
}

// intent is what the holder of the lock is about to do, so that the next one can finish it.
type intent struct {
	Busy     uint32
	From, To uint32
	A, B     int64 // what the two accounts are to have
}

// transfer moves an amount between two accounts, in steps between which a process may be killed.
func (b bank) transfer(ctx context.Context, r *rand.Rand) error {
	err := b.Lock.Acquire(ctx)
	if errors.Is(err, locks.ErrOwnerDied) {
		err = b.Lock.Recover(ctx, b.finish)
	}
	if err != nil {
		return err
	}
	n := uint32(b.Accounts.Len())
	from := r.Uint32N(n)
	to := (from + 1 + r.Uint32N(n-1)) % n
	amount := r.Int64N(10)
	b.Intent.Store(intent{1, from, to, b.Accounts.Load(int(from)) - amount, b.Accounts.Load(int(to)) + amount})
	if err := b.finish(); err != nil {
		return err
	}
	return b.Lock.Release()
}

// finish does what the intent says, as often as it takes; the lock is held.
func (b bank) finish() error {
	i := b.Intent.Load()
	if i.Busy == 0 {
		return nil
	}
	if int(i.From) >= b.Accounts.Len() || int(i.To) >= b.Accounts.Len() {
		return fmt.Errorf("an intent that is no intent: %+v", i)
	}
	b.Accounts.Store(int(i.From), i.A)
	b.Accounts.Store(int(i.To), i.B)
	b.Intent.Store(intent{})
	return nil
}

// busy does everything at once until its context ends, which for most comes by SIGKILL.
var busy = proctest.NewRole("chaos", func(ctx context.Context, c *proctest.Child, b bank) error {
	r := rand.New(rand.NewPCG(uint64(os.Getpid()), 0))
	c.Say("ready")
	for {
		if err := b.transfer(ctx, r); err != nil {
			return err
		}
		err := b.Pair.Update(ctx, func(p *[2]uint64) error {
			if p[0] != p[1] {
				return fmt.Errorf("half a value: %v", *p)
			}
			p[0]++
			p[1]++
			return nil
		})
		if err != nil {
			return err
		}
		if b.Done.Add(1)%64 == 0 {
			if _, err := shm.NewBlock(b.Lock.Segment(), "", 64); err != nil && !errors.Is(err, shm.ErrNoSpace) {
				return err
			}
		}
	}
})

// TestChaos kills and stops processes at random while they use a lock, values, an array and the heap of one
// segment. Nobody hangs, no transfer is lost or done by half, and the work goes on after each death.
func TestChaos(t *testing.T) {
	kills, stop := 30, time.Now().Add(proctest.Stress(0))
	if testing.Short() {
		kills = 5
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	ctx := t.Context()
	seg := proctest.Segment(t, 256<<20)
	var b bank
	var err error
	b.Lock, err = locks.NewLock(seg, "")
	proctest.Must(t, err)
	accounts := make([]int64, 16)
	for i := range accounts {
		accounts[i] = 1000
	}
	b.Accounts, err = array.From(seg, "", accounts, array.Options{Unlocked: true})
	proctest.Must(t, err)
	b.Intent, err = value.New(seg, "", intent{}, value.Options{Unlocked: true})
	proctest.Must(t, err)
	b.Pair, err = value.New(seg, "", [2]uint64{})
	proctest.Must(t, err)
	b.Done, err = value.NewAtomic(seg, "", 0)
	proctest.Must(t, err)

	var running []*proctest.Proc
	start := func() {
		p := busy.Start(t, b)
		p.WaitLine("ready")
		running = append(running, p)
	}
	for range 3 {
		start()
	}
	for n := 0; n < kills || time.Now().Before(stop); n++ {
		i := r.IntN(len(running))
		before := b.Done.Load()
		for range r.IntN(2000) {
			runtime.Gosched()
		}
		if p := running[i]; r.IntN(3) == 0 { // stopped, and killed in that state or continued
			p.Stop()
			for range r.IntN(2000) {
				runtime.Gosched()
			}
			if r.IntN(2) == 0 {
				p.Continue()
				continue
			}
			p.Kill()
			p.Wait()
		} else {
			p.Kill()
			p.Wait()
		}
		running = append(running[:i], running[i+1:]...)
		start()
		for b.Done.Load() == before { // the others go on
			runtime.Gosched()
		}
	}
	for _, p := range running {
		p.Kill()
		p.Wait()
	}

	err = b.Lock.Acquire(ctx)
	if errors.Is(err, locks.ErrOwnerDied) {
		err = b.Lock.Recover(ctx, b.finish)
	}
	proctest.Must(t, err)
	sum := int64(0)
	for _, x := range b.Accounts.All() {
		sum += x
	}
	if want := int64(len(accounts)) * 1000; sum != want {
		t.Errorf("the accounts have %d in all, want %d", sum, want)
	}
	proctest.Must(t, b.Lock.Release())
	pair, err := b.Pair.Get(ctx)
	proctest.Must(t, err)
	if pair[0] != pair[1] {
		t.Errorf("half a value: %v", pair)
	}
	for _, p := range seg.Participants() {
		if p.Alive && p.Pid != os.Getpid() {
			t.Errorf("process %d lives", p.Pid)
		}
	}
	t.Logf("%d rounds", b.Done.Load())
}
