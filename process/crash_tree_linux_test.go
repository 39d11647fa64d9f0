//go:build crashpoint

package process_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
)

// askArgs are a block that is handed over, and a handle whose segment is not.
type askArgs struct {
	B      *shm.Block
	Handle []byte
}

var opAsk = proctest.NewOp("process/ask", nil, func(ctx context.Context, a askArgs) error {
	var b shm.Block
	if err := b.UnmarshalBinary(a.Handle); err != nil {
		return err
	}
	b.Uint32(0).Add(1)
	runtime.KeepAlive(&b)
	return nil
})

// A process that is killed or stopped while it asks for a segment, or enters it, leaves no living participant
// behind, and holds up nobody who asks meanwhile.
func TestCrashAsk(t *testing.T) {
	var asked *shm.Block
	setup := func(t testing.TB) askArgs {
		handed, err := shm.NewBlock(proctest.Segment(t, 1), "", 64)
		proctest.Must(t, err)
		asked, err = shm.NewBlock(proctest.Segment(t, 1), "", 64)
		proctest.Must(t, err)
		h, err := asked.MarshalBinary()
		proctest.Must(t, err)
		return askArgs{handed, h}
	}
	proctest.Crash(t, opAsk, setup, func(t testing.TB, a askArgs) {
		proctest.Must(t, process.Run(t.Context(), asksToo, a.Handle))
		asked.Uint32(0).Add(^uint32(0))
	}, func(t testing.TB, a askArgs, survived bool) {
		if n := asked.Uint32(0).Load(); n > 1 || survived && n != 1 {
			t.Errorf("the child ran %d times, survived %v", n, survived)
		}
		if !survived {
			living(t, asked.Segment(), 1)
		}
		proctest.Must(t, process.Run(t.Context(), asksToo, a.Handle))
		proctest.Must(t, asked.Segment().Check())
		asked = nil // or it would be there for as long as this function is
	})
}

var asksToo = process.Register("asks-too", func(ctx context.Context, handle []byte) error {
	var b shm.Block
	if err := b.UnmarshalBinary(handle); err != nil {
		return err
	}
	b.Uint32(0).Add(1)
	return b.Segment().Close()
})

// The block of those who are asked: flags that the handle is there, that it may be used, and that it has been, and
// the handle.
const (
	made      = 0
	offered   = 4
	arrived   = 8
	handleAt  = 12
	handleLen = 29
)

// offers keeps what a child of TestCrashGive makes before its steps are counted.
var offers struct {
	block  *shm.Block
	before int // descriptors of memory
	end    func()
}

// offer makes a segment and leaves the handle of a block of it in b.
func offer(b *shm.Block) (*shm.Block, error) {
	seg, err := shm.Anonymous(1)
	if err != nil {
		return nil, err
	}
	own, err := shm.NewBlock(seg, "", 64)
	if err != nil {
		return nil, err
	}
	h, err := own.MarshalBinary()
	copy(b.Bytes()[handleAt:], h)
	b.Uint32(made).Store(1)
	return own, err
}

// untilArrived offers the handle and waits until the handle has been used by the test, and what was sent is not this process's any more.
func untilArrived(b *shm.Block, before int) {
	b.Uint32(offered).Store(1)
	for b.Uint32(arrived).Load() == 0 || memoryFiles() != before {
		runtime.Gosched()
	}
	runtime.KeepAlive(b)
}

// memoryFiles is how many descriptors of memory files this process has.
func memoryFiles() (n int) {
	for _, fd := range openFiles() {
		if name, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); strings.Contains(name, "memfd:") {
			n++
		}
	}
	return n
}

var (
	opGive = proctest.NewOp("process/give", func(ctx context.Context, a crashArgs) (err error) {
		offers.block, err = offer(a.B)
		offers.before = memoryFiles()
		return err
	}, func(ctx context.Context, a crashArgs) error {
		untilArrived(a.B, offers.before)
		runtime.KeepAlive(offers.block)
		return nil
	})

	opRelay = proctest.NewOp("process/relay", func(ctx context.Context, a crashArgs) error {
		ctx, cancel := context.WithCancel(ctx)
		p, err := process.Start(ctx, offersUntilDone, a)
		offers.end = func() {
			cancel()
			p.Join(context.Background())
		}
		offers.before = memoryFiles()
		for err == nil && a.B.Uint32(made).Load() == 0 && p.Alive() {
			runtime.Gosched()
		}
		return err
	}, func(ctx context.Context, a crashArgs) error {
		untilArrived(a.B, offers.before)
		offers.end()
		return nil
	})

	offersUntilDone = process.Register("offers-until-done", func(ctx context.Context, a crashArgs) error {
		own, err := offer(a.B)
		<-ctx.Done()
		runtime.KeepAlive(own)
		return err
	})
)

// A process that is killed while it gives a segment that it has, or passes one on that a child of it has, makes it
// unreachable at most; one that is stopped then makes the other wait.
func TestCrashGive(t *testing.T) {
	var asked chan error
	ask := func(t testing.TB, p *proctest.Proc, a crashArgs) {
		for a.B.Uint32(offered).Load() == 0 && p.Process().Alive() {
			runtime.Gosched()
		}
		go func() {
			var b shm.Block
			err := b.UnmarshalBinary(a.B.Bytes()[handleAt : handleAt+handleLen])
			if err == nil {
				b.Uint32(0).Add(1)
				if n := b.Segment().Info().Living; n > 2 {
					err = fmt.Errorf("%d living participants", n)
				}
				err = errors.Join(err, b.Segment().Check(), b.Segment().Close())
			}
			a.B.Uint32(arrived).Store(1)
			asked <- err
		}()
	}
	setup := func(t testing.TB) crashArgs {
		asked = make(chan error, 1)
		b, err := shm.NewBlock(proctest.Segment(t, 1), "", 64)
		proctest.Must(t, err)
		return crashArgs{b}
	}
	for _, op := range []*proctest.Op[crashArgs]{opGive, opRelay} {
		proctest.Crash(t, op.Beside(ask), setup, func(t testing.TB, a crashArgs) {
			proctest.Must(t, process.Run(t.Context(), addOne, crashArgs{block(t)})) // others start processes meanwhile
		}, func(t testing.TB, a crashArgs, survived bool) {
			err := <-asked
			slow := err != nil && strings.Contains(err.Error(), "in time") // the asker cannot tell it from a stop
			if err != nil && (survived && !slow || !errors.Is(err, shm.ErrUnreachable)) {
				t.Errorf("survived %v: %v", survived, err)
			}
		})
	}
}

func block(t testing.TB) *shm.Block {
	b, err := shm.NewBlock(proctest.Segment(t, 1), "", 64)
	proctest.Must(t, err)
	return b
}
