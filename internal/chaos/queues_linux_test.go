package chaos_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/queue"
	"github.com/shoal-ipc/shoal/shm"
)

// job is an item of the queue: every other one is passed.
type job struct {
	N    uint64
	Text string
}

func jobOf(n uint64) job {
	j := job{N: n, Text: "short"}
	if n%2 == 0 {
		j.Text = strings.Repeat("long ", 100)
	}
	return j
}

// Where the words of the queue are in world.Plain: how many jobs somebody was about to put, and has put, and has got.
const (
	puttingAt = 1408
	putAt     = 1412
	gotAt     = 1416
)

// work puts a job into the queue, or gets one and is done with it.
func (w world) work(r *rand.Rand) error {
	if r.IntN(2) == 0 {
		w.Plain.Uint32(puttingAt).Add(1)
		err := w.Jobs.TryPut(jobOf(r.Uint64()))
		if err == nil {
			w.Plain.Uint32(putAt).Add(1)
		} else if err == queue.ErrFull || errors.Is(err, shm.ErrNoSpace) {
			err = nil
		}
		return err
	}
	j, err := w.Jobs.TryGet()
	if err == queue.ErrEmpty {
		return nil
	}
	return errors.Join(err, w.deal(j))
}

func (w world) deal(j job) error {
	if j != jobOf(j.N) {
		return fmt.Errorf("a job that nobody put: %.100v", j)
	}
	linger(rand.New(rand.NewPCG(j.N, 0)))
	w.Plain.Uint32(gotAt).Add(1)
	return w.Jobs.TaskDone()
}

// verifyWork checks what is left of that.
func (w world) verifyWork(t *testing.T, kills int) {
	for {
		j, err := w.Jobs.TryGet()
		if err == queue.ErrEmpty {
			break
		}
		if err = errors.Join(err, w.deal(j)); err != nil {
			t.Fatal(err)
		}
	}
	lost := new(queue.LostError)
	if err := w.Jobs.Join(t.Context()); err != nil && !errors.As(err, &lost) {
		t.Fatal(err)
	}
	putting, put, got := w.Plain.Uint32(puttingAt).Load(), w.Plain.Uint32(putAt).Load(), w.Plain.Uint32(gotAt).Load()
	if got == 0 || got > putting || put > got+uint32(lost.Items) || lost.Items > kills {
		t.Errorf("%d jobs were put, %d of %d for certain; %d were got, and %d lost in %d kills", putting, put, putting, got, lost.Items, kills)
	}
	if w.Jobs.Len() != 0 || w.Jobs.Unfinished() != 0 {
		t.Errorf("Len %d, unfinished %d in the end", w.Jobs.Len(), w.Jobs.Unfinished())
	}
	t.Logf("%d jobs, %d lost", got, lost.Items)
}
