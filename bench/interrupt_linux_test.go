package bench_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/bench"
)

// compiler is one whose pass lives on when the driver is killed, and that has a temporary file.
const compiler = `#!/bin/sh
: >"${TMPDIR:-/tmp}/ccpass.s"
/bin/sleep 6 &
: >"$BENCH_COMPILES"
wait
`

// Who interrupts while a peer is compiled does not wait for the passes of the compiler, and its files go too.
func TestInterruptedCompiler(t *testing.T) {
	dir, bin := t.TempDir(), t.TempDir()
	begun := filepath.Join(bin, "begun")
	if err := os.WriteFile(filepath.Join(bin, "gcc"), []byte(compiler), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	t.Setenv("TMPDIR", dir)
	t.Setenv("BENCH_COMPILES", begun)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var asked time.Time
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(begun); err == nil {
				asked = time.Now()
				cancel()
			}
			time.Sleep(time.Millisecond)
		}
	}()
	err := bench.Run(ctx, bench.Options{Only: "shm.create", Quick: true, Peers: true}, func(*bench.Result) error { return nil })
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if took := time.Since(asked); took > 4*time.Second {
		t.Errorf("interrupted after %v", took)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
