// Wake is compiled by TestWakeCode, which reads what became of it.
package main

import (
	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/internal/wait"
)

//go:noinline
func publish(p *atomics.Pos, w *wait.Word, x uint64) {
	p.Publish(x)
	w.Wake()
}

func main() {
	w, err := wait.New(make([]byte, 256))
	if err == nil {
		publish(new(atomics.Pos), w, 1)
	}
}
