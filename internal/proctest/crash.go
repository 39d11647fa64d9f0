//go:build crashpoint

package proctest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/sys"
)

// Op is an operation that a child does and in the middle of which it is killed or stopped.
type Op[A any] struct {
	name string
	role *Role[A]
}

// NewOp registers an operation; call it in a package variable. prepare, which may be nil, runs before the
// counting of the steps begins.
func NewOp[A any](name string, prepare, do func(ctx context.Context, a A) error) *Op[A] {
	role := NewRole("crash/"+name, func(ctx context.Context, c *Child, a A) error {
		if prepare != nil {
			if err := prepare(ctx, a); err != nil {
				return err
			}
		}
		var mode crashpoint.Mode
		var n int
		if _, err := fmt.Sscan(c.Hear(), &mode, &n); err != nil {
			return err
		}
		crashpoint.Arm(mode, n)
		err := do(ctx, a)
		c.Say("survived %s", strings.Join(crashpoint.Disarm(), " "))
		if err != nil {
			return err
		}
		c.Hear() // so that it dies with what the operation left it, when the test is done with looking
		return nil
	})
	return &Op[A]{name, role}
}

// Crash runs op in children: killed at its first step, its second, and so on until it survives, and then
// stopped at each step. setup makes what op works on. check is called after each kill, and after each stop
// when the child was continued and has done op; survived tells whether op was done. stopped, which may be
// nil, is called while the child is stopped: it does what the documentation promises that others can do then.
func Crash[A any](t *testing.T, op *Op[A], setup func(t testing.TB) A, stopped func(t testing.TB, a A),
	check func(t testing.TB, a A, survived bool)) {
	t.Helper()
	steps, kills := 0, 0
	var names []string
	for n := 1; ; n++ {
		survived := false
		ok := t.Run(fmt.Sprintf("kill-%d", n), func(t *testing.T) {
			a := setup(t)
			p := op.role.Start(t, a)
			p.Tell(fmt.Sprint("kill ", n))
			line, err := p.next()
			if survived = err == nil; survived {
				names = strings.Fields(strings.TrimPrefix(line, "survived"))
			} else if p.ExitCode() != -9 {
				t.Fatalf("step %d: %v", n, err)
			} else {
				kills++
			}
			check(t, a, survived)
			if survived {
				p.Tell("go")
				p.Wait()
			}
		})
		if !ok || survived {
			steps = n - 1
			break
		}
	}
	stops := 0
	for n := 1; n <= steps && !t.Failed(); n++ {
		name := "?"
		if n <= len(names) {
			name = names[n-1]
		}
		t.Run(fmt.Sprintf("stop-%d", n), func(t *testing.T) {
			a := setup(t)
			p := op.role.Start(t, a)
			p.Tell(fmt.Sprint("stop ", n))
			if err := sys.AwaitStopped(p.Pid()); err != nil {
				t.Fatalf("step %d (%s): %v", n, name, err)
			}
			if stopped != nil {
				stopped(t, a)
			}
			p.Continue()
			p.Line() // survived
			check(t, a, true)
			p.Tell("go")
			p.Wait()
			stops++
		})
	}
	result := "ok"
	if t.Failed() {
		result = "FAILED"
	}
	fmt.Printf("crash: %s %d steps, %d kills, %d stops, %s\n", op.name, steps, kills, stops, result)
}
