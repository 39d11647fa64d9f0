package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/process"
)

// victimFunc touches the memory that its row says, takes the lock and waits for its end.
var victimFunc = process.Register("bench victim", func(ctx context.Context, p part) error {
	i := slices.IndexFunc(rows, func(r row) bool { return r.name == p.Job.Row })
	if i < 0 {
		return fmt.Errorf("no row is called %q", p.Job.Row)
	}
	const page = 4096
	mem := make([]byte, rows[i].memory)
	for at := 0; at < len(mem); at += page {
		mem[at] = 1
	}
	if err := p.Shared.Lock.Acquire(ctx); err != nil {
		return err
	}
	p.Shared.word(ready).Add(1)
	<-ctx.Done()
	runtime.KeepAlive(mem)
	return nil
})

// asleep is how long who waits for a death gets to fall asleep. It is more than the first part of a sleep (package futex).
const asleep = 12 * time.Millisecond

// deaths kills processes that hold the lock, each while wait waits for its end; the time between is measured.
func deaths(ctx context.Context, p *part, m *meter, wait func(victim *process.Process) error) error {
	h := newHistogram()
	total := time.Duration(0)
	for round := range uint32(m.n) {
		victim, err := process.Start(ctx, victimFunc, *p)
		if err != nil {
			return err
		}
		for p.Shared.word(ready).Load() != round+1 {
			select {
			case <-victim.Done():
				return fmt.Errorf("the owner of the lock ended: %w", victim.Join(ctx))
			case <-time.After(100 * time.Microsecond):
			}
		}
		waited := make(chan error)
		var end time.Time
		go func() {
			err := wait(victim)
			end = time.Now()
			waited <- err
		}()
		time.Sleep(asleep)
		start := time.Now()
		err = victim.Kill()
		if e := <-waited; err == nil {
			err = e
		}
		if err != nil {
			return err
		}
		took := end.Sub(start)
		total += took
		if err := h.RecordValue(int64(took)); err != nil {
			return err
		}
		victim.Join(context.Background())
		victim.Close()
		if err := errors.Join(p.Shared.Lock.Recover(ctx, nil), p.Shared.Lock.Release()); err != nil {
			return err
		}
	}
	m.s.NS = float64(total) / float64(m.n)
	m.latency(h)
	return nil
}

// deathNotice waits for the lock, asleep, until that says that its owner has died.
func deathNotice(ctx context.Context, p *part, m *meter) error {
	return deaths(ctx, p, m, func(*process.Process) error {
		if err := p.Shared.Lock.Acquire(ctx); !errors.Is(err, locks.ErrOwnerDied) {
			return fmt.Errorf("a lock whose owner was killed: %v", err)
		}
		return nil
	})
}

// deathPidfd waits for the kernel to say that a process has ended.
func deathPidfd(ctx context.Context, p *part, m *meter) error {
	return deaths(ctx, p, m, func(victim *process.Process) error { return sys.AwaitExit(victim.Pid()) })
}

// available is how much memory programs can have without swapping, 0 if the system does not tell.
func available() int64 {
	text, _ := os.ReadFile("/proc/meminfo")
	_, rest, _ := strings.Cut(string(text), "MemAvailable:")
	if fields := strings.Fields(rest); len(fields) > 1 {
		kib, _ := strconv.ParseInt(fields[0], 10, 64)
		return kib << 10
	}
	return 0
}
