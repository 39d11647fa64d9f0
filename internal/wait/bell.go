package wait

import (
	"context"
	"sync/atomic"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/parking"
)

// Bell is the use of one word in shared memory, a doorbell: who changes something rings it, who needs a
// change waits for it.
//
//	bit 0      SLEEPS   somebody sleeps, or is about to
//	bits 1-31  count of the rings, modulo 2^31
//
//	wait:  v            -> v|SLEEPS        then look again, then sleep while the word is v|SLEEPS
//	ring:  v            -> v+2             one locked instruction, hence a full barrier after the publisher's store
//	       v|SLEEPS+2   -> v+2             by the ringer that saw SLEEPS; then it wakes all
//
// The sleeper sets SLEEPS before its last look and the ringer publishes before it reads SLEEPS, both with
// full barriers, so that one of the two sees the other. SLEEPS is one-shot: the ringer takes it away, so a
// sleeper that was killed costs one useless wake and no more. A ringer that is killed or stopped between its
// publishing and its wake leaves sleepers that look again when their sleep reaches its cap (package futex).
type Bell struct{ W *atomic.Uint32 }

const sleeps = 1

// Ring tells whoever waits to look again. Call it after the change is published. It never blocks, and makes a
// system call only when somebody sleeps.
func (b Bell) Ring() {
	v := b.W.Add(2)
	crashpoint.Hit("wait/ring/counted")
	for v&sleeps != 0 {
		if b.W.CompareAndSwap(v, v&^sleeps) {
			crashpoint.Hit("wait/ring/cleared")
			futex.Wake(b.W, 1<<31-1)
			return
		}
		v = b.W.Load()
	}
}

// Wait returns nil once ready does, which is asked first, and ctx's error when that ends before. ready may be
// called often; it must not block.
func (b Bell) Wait(ctx context.Context, ready func() bool) error {
	for {
		if ready() {
			return nil
		}
		v := b.W.Load()
		if v&sleeps == 0 {
			if !b.W.CompareAndSwap(v, v|sleeps) {
				continue
			}
			crashpoint.Hit("wait/wait/asleep")
		}
		if ready() {
			return nil
		}
		if err := ctx.Err(); err != nil { // also when the bell never stops ringing
			return err
		}
		if err := parking.Wait(ctx, b.W, v|sleeps, ready); err != nil {
			if ready() {
				return nil
			}
			return err
		}
	}
}
