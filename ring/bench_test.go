package ring_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/ring"
)

// BenchmarkSPSC is one push and one pop in one goroutine, which no other CPU disturbs: what the code itself
// costs. What two processes make of it is in package bench. A channel does the same for comparison.
func BenchmarkSPSC(b *testing.B) {
	b.Run("op=pushpop/impl=shoal", func(b *testing.B) {
		r := newSPSC[uint64](b, memory(b, ring.SPSCSize[uint64](1024)), 1024, self(1))
		for i := uint64(0); b.Loop(); i++ {
			r.TryPush(i)
			if v, ok := r.TryPop(); !ok || v != i {
				b.Fatal(v, ok)
			}
		}
	})
	b.Run("op=pushpop/impl=chan", func(b *testing.B) {
		c := make(chan uint64, 1024)
		for i := uint64(0); b.Loop(); i++ {
			c <- i
			if v := <-c; v != i {
				b.Fatal(v)
			}
		}
	})
	for _, batch := range []int{1, 8, 64, 512} {
		b.Run(fmt.Sprintf("op=batch/n=%d/impl=shoal", batch), func(b *testing.B) {
			r := newSPSC[uint64](b, memory(b, ring.SPSCSize[uint64](1024)), 1024, self(1))
			vs := make([]uint64, batch)
			b.SetBytes(int64(8 * batch))
			for b.Loop() {
				r.TryPushMany(vs)
				r.TryPopMany(vs)
			}
		})
	}
}

// BenchmarkSPSCGoroutines streams between two goroutines.
func BenchmarkSPSCGoroutines(b *testing.B) {
	b.Run("impl=shoal", func(b *testing.B) {
		r := newSPSC[uint64](b, memory(b, ring.SPSCSize[uint64](1024)), 1024, self(1))
		n := uint64(b.N)
		go func() {
			for i := uint64(0); i < n; {
				if r.TryPush(i) {
					i++
				} else {
					runtime.Gosched()
				}
			}
		}()
		for i := uint64(0); i < n; {
			if v, ok := r.TryPop(); !ok {
				runtime.Gosched()
			} else if v != i {
				b.Fatal(v, i)
			} else {
				i++
			}
		}
	})
	b.Run("impl=chan", func(b *testing.B) {
		c := make(chan uint64, 1024)
		n := uint64(b.N)
		go func() {
			for i := range n {
				c <- i
			}
		}()
		for i := range n {
			if v := <-c; v != i {
				b.Fatal(v, i)
			}
		}
	})
}

// BenchmarkBroadcast is one push, and one pop of each reader, in one goroutine.
func BenchmarkBroadcast(b *testing.B) {
	for _, o := range kinds {
		for _, readers := range []int{1, 4, 16} {
			b.Run(fmt.Sprintf("op=pushpop/kind=%s/readers=%d/impl=shoal", kindName(o), readers), func(b *testing.B) {
				_, p := newBroadcast[uint64](b, 1024, self(1), o)
				var rs []*ring.Reader[uint64]
				for range readers {
					rs = append(rs, join(b, p))
				}
				for i := uint64(0); b.Loop(); i++ {
					p.TryPush(i)
					for _, r := range rs {
						if v, lost, ok := r.TryPop(); !ok || v != i || lost != 0 {
							b.Fatal(v, lost, ok)
						}
					}
				}
			})
		}
		b.Run(fmt.Sprintf("op=push/kind=%s/readers=0/impl=shoal", kindName(o)), func(b *testing.B) {
			_, p := newBroadcast[uint64](b, 1024, self(1), o)
			for i := uint64(0); b.Loop(); i++ {
				p.TryPush(i)
			}
		})
		b.Run(fmt.Sprintf("op=batch/n=64/kind=%s/readers=1/impl=shoal", kindName(o)), func(b *testing.B) {
			_, p := newBroadcast[uint64](b, 1024, self(1), o)
			r := join(b, p)
			vs := make([]uint64, 64)
			b.SetBytes(8 * 64)
			for b.Loop() {
				p.TryPushMany(vs)
				r.TryPopMany(vs)
			}
		})
		b.Run(fmt.Sprintf("op=large/bytes=1024/kind=%s/readers=1/impl=shoal", kindName(o)), func(b *testing.B) {
			_, p := newBroadcast[[128]uint64](b, 64, self(1), o)
			r := join(b, p)
			var v [128]uint64
			b.SetBytes(1024)
			for b.Loop() {
				p.TryPush(v)
				v, _, _ = r.TryPop()
			}
		})
	}
}

// BenchmarkMPMC is one push and one pop in one goroutine, which no other CPU disturbs, in both forms.
func BenchmarkMPMC(b *testing.B) {
	for _, form := range ring.Forms(8) {
		b.Run("op=pushpop/impl="+formNames[form], func(b *testing.B) {
			r := newMPMC[uint64](b, memory(b, ring.MPMCSizeIn[uint64](1024, form)), 1024, self(1), form)
			for i := uint64(0); b.Loop(); i++ {
				r.TryPush(i)
				if v, ok := r.TryPop(); !ok || v != i {
					b.Fatal(v, ok)
				}
			}
		})
		for _, batch := range []int{8, 32, 512} {
			b.Run(fmt.Sprintf("op=batch/n=%d/impl=%s", batch, formNames[form]), func(b *testing.B) {
				r := newMPMC[uint64](b, memory(b, ring.MPMCSizeIn[uint64](1024, form)), 1024, self(1), form)
				vs := make([]uint64, batch)
				b.SetBytes(int64(8 * batch))
				for b.Loop() {
					r.TryPushMany(vs)
					r.TryPopMany(vs)
				}
			})
		}
	}
}

// BenchmarkMPMCGoroutines streams between goroutines: so many push, and as many pop. Who finds a ring empty or full pauses
// for a moment, in which the other side gets ahead, and now and then lets others run.
func BenchmarkMPMCGoroutines(b *testing.B) {
	for _, side := range []int{1, 2} {
		for _, form := range ring.Forms(8) {
			b.Run(fmt.Sprintf("goroutines=%d+%d/impl=%s", side, side, formNames[form]), func(b *testing.B) {
				r := newMPMC[uint64](b, memory(b, ring.MPMCSizeIn[uint64](1024, form)), 1024, self(1), form)
				n := b.N/side + 1
				var wg sync.WaitGroup
				for range side {
					wg.Go(func() {
						idle := 0
						for i := 0; i < n; {
							if r.TryPush(uint64(i)) {
								i++
							} else {
								pause(&idle)
							}
						}
					})
					wg.Go(func() {
						idle := 0
						for i := 0; i < n; {
							if _, ok := r.TryPop(); ok {
								i++
							} else {
								pause(&idle)
							}
						}
					})
				}
				wg.Wait()
			})
		}
		b.Run(fmt.Sprintf("goroutines=%d+%d/impl=chan", side, side), func(b *testing.B) {
			c := make(chan uint64, 1024)
			n := b.N/side + 1
			var wg sync.WaitGroup
			for range side {
				wg.Go(func() {
					for i := range n {
						c <- uint64(i)
					}
				})
				wg.Go(func() {
					for range n {
						<-c
					}
				})
			}
			wg.Wait()
		})
	}
}

// pause waits for a moment, and lets others run every 64th time.
func pause(idle *int) {
	atomics.Pause(50)
	if *idle++; *idle%64 == 0 {
		runtime.Gosched()
	}
}
