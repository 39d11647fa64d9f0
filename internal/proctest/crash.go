//go:build crashpoint

package proctest

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/codec"
	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/shm"
)

// Op is an operation that a child does and in the middle of which it is killed or stopped.
type Op[A any] struct {
	name   string
	role   *Role[A]
	beside func(t testing.TB, p *Proc, a A)
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
		if err := do(ctx, a); err != nil {
			return err
		}
		hits := crashpoint.Disarm()
		if mode == crashpoint.Stop && len(hits) < n {
			// This time there were fewer steps: a sleep that reaches its cap adds one. Who waits for a stop gets it here.
			sys.SignalSelf(false)
		}
		c.Say("survived %s", strings.Join(hits, " "))
		c.Hear() // so that it dies with what the operation left it, when the test is done with looking
		return nil
	})
	return &Op[A]{name: name, role: role}
}

// Beside says what the test does as soon as a child has begun with the operation: what that needs from
// others to get on. The child may be dead or stopped by then.
func (o *Op[A]) Beside(f func(t testing.TB, p *Proc, a A)) *Op[A] {
	o.beside = f
	return o
}

// Crash runs op in children: one to which nothing happens, then one that is killed at its first step, at its
// second, and so on until one survives, and then ones that are stopped at each step. setup makes what op works
// on. check is called after each kill, and after each stop when the child was continued and has done op;
// survived tells whether op was done. stopped, which may be nil, is called while the child is stopped: it does
// what the documentation promises that others can do then.
//
// Crash itself checks, each time, that the segments among the arguments pass Segment.Check, that they have as
// many living participants in the end as before the child was started, that a child that was killed or stopped
// takes no more memory of theirs than one that was not, and that the step leaves this process with the
// descriptors, mappings and goroutines that it had.
func Crash[A any](t *testing.T, op *Op[A], setup func(t testing.TB) A, stopped func(t testing.TB, a A),
	check func(t testing.TB, a A, survived bool)) {
	t.Helper()
	kills, stops := 0, 0
	var names []string
	rest := 0 // bytes that are used when all is over, after an op to which nothing happens
	whole := func(s *scene[A]) {
		names = strings.Fields(strings.TrimPrefix(s.p.Line(), "survived"))
		s.sound()
		check(s.t, s.a, true)
		s.end()
		rest = s.rest()
	}
	kill := func(s *scene[A]) (survived bool) {
		_, err := s.p.next()
		if survived = err == nil; !survived && s.p.ExitCode() != -9 {
			s.t.Fatal(err)
		}
		s.sound()
		check(s.t, s.a, survived)
		if survived {
			s.end()
			return true
		}
		kills++
		s.left()
		s.thrifty(s.rest(), rest)
		return false
	}
	stop := func(s *scene[A]) {
		Must(s.t, sys.AwaitStopped(s.p.Pid()))
		s.sound()
		if stopped != nil {
			stopped(s.t, s.a)
			s.sound()
		}
		s.p.Continue()
		s.p.Line() // survived
		s.sound()
		check(s.t, s.a, true)
		s.end()
		s.thrifty(s.rest(), rest)
		stops++
	}

	// step runs f in a subtest, with a child that is about to be killed or stopped at step n.
	step := func(mode crashpoint.Mode, n int, f func(s *scene[A])) bool {
		name := fmt.Sprintf("%s-%d", mode, n)
		if n == 0 {
			name = "whole"
		} else if n <= len(names) {
			name += " " + names[n-1]
		}
		before := own()
		ok := t.Run(name, func(t *testing.T) {
			s := newScene(t, op, setup(t))
			s.p.Tell(fmt.Sprint(mode, " ", n))
			if op.beside != nil {
				op.beside(t, s.p, s.a)
			}
			f(s)
		})
		if !ok {
			return false
		}
		for _, leak := range before.leaks(own) {
			t.Errorf("%s left behind: %s", name, leak)
			ok = false
		}
		return ok
	}
	ok := step(crashpoint.Kill, 0, whole)
	for survived := false; ok && !survived; {
		ok = step(crashpoint.Kill, kills+1, func(s *scene[A]) { survived = kill(s) })
	}
	steps := kills
	for n := 1; ok && n <= steps; n++ {
		ok = step(crashpoint.Stop, n, stop)
	}
	result := "ok"
	if !ok {
		result = "FAILED"
	}
	fmt.Printf("crash: %s %d steps, %d kills, %d stops, %s\n", op.name, steps, kills, stops, result)
}

// scene is what one child works on.
type scene[A any] struct {
	t        testing.TB
	a        A
	p        *Proc
	segments []*shm.Segment
	used     int   // bytes of the segments, before the child
	living   []int // participants of each, before the child
}

func newScene[A any](t testing.TB, op *Op[A], a A) *scene[A] {
	t.Helper()
	s := &scene[A]{t: t, a: a}
	objects, err := codec.Objects(a)
	Must(t, err)
	seen := make(map[*shm.Segment]bool)
	for _, o := range objects {
		if seg := o.Segment(); !seen[seg] {
			seen[seg] = true
			s.segments = append(s.segments, seg)
			s.used += seg.Info().Used
			s.living = append(s.living, seg.Info().Living)
		}
	}
	s.p = op.role.Start(t, a)
	return s
}

// sound checks the segments.
func (s *scene[A]) sound() {
	s.t.Helper()
	for _, seg := range s.segments {
		if err := seg.Check(); err != nil {
			s.t.Error(err)
		}
	}
}

// grown is how much more of the segments is used than before the child was started.
func (s *scene[A]) grown() int {
	n := -s.used
	for _, seg := range s.segments {
		n += seg.Info().Used
	}
	return n
}

// rest is how much is used of the segments, beyond what was used before the child was started, when all that died was
// swept up after and the handles that check has dropped are gone.
func (s *scene[A]) rest() int {
	s.t.Helper()
	last := 0
	for n := 0; n < 3; {
		runtime.GC()
		time.Sleep(100 * time.Microsecond) // for the cleanups
		for _, seg := range s.segments {
			_, err := seg.Repair()
			Must(s.t, err)
		}
		n++
		if now := s.grown(); now != last {
			last, n = now, 0
		}
	}
	s.sound()
	return last
}

// thrifty checks how much memory is in use in the end.
func (s *scene[A]) thrifty(rest, most int) {
	s.t.Helper()
	if rest > max(most, 0) { // what the child was to free it may not have
		s.t.Errorf("%d bytes of memory are left in use, %d by a child to which nothing happens", rest, most)
	}
}

// end lets a child that has done its operation go.
func (s *scene[A]) end() {
	s.t.Helper()
	s.p.Tell("go")
	s.p.Wait()
	s.left()
}

// left checks what is left when the child has ended. What that had started ends when it finds that its parent
// is dead.
func (s *scene[A]) left() {
	s.t.Helper()
	s.sound()
	for i, seg := range s.segments {
		for deadline := time.Now().Add(settle); seg.Info().Living != s.living[i]; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				s.t.Errorf("%d living participants, %d before: %+v", seg.Info().Living, s.living[i], seg.Participants())
				break
			}
		}
	}
}

// own lists what a step must leave this process as it was.
func own() resources {
	r := make(resources)
	descriptors(r)
	mappings(r)
	goroutines(r, nil)
	return r
}
