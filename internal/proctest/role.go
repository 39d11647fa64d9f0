package proctest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/process"
)

// noChildren is set in the environment where a process cannot start another one like it, as in an emulator of another
// architecture, where even the attempt may hang: tests that need several processes are skipped.
const noChildren = "SHOAL_NO_CHILDREN"

// Role is something that the test binary can do as a process of its own.
type Role[A any] struct {
	name string
	f    process.Func[A]
}

// NewRole registers a role; call it in a package variable. Shared objects in the argument arrive usable.
func NewRole[A any](name string, f func(ctx context.Context, c *Child, a A) error) *Role[A] {
	roles.Lock()
	defer roles.Unlock()
	roles.all = append(roles.all, name)
	return &Role[A]{name: name, f: process.Register(name, func(ctx context.Context, a A) error {
		c := newChild()
		defer runtime.KeepAlive(c) // else the pipes are closed when a role has no more use for them
		return f(ctx, c, a)
	})}
}

// Start starts a process with the role, which is killed and joined at the end of the test. Options.Files of
// the caller become descriptors 5, 6, …. Elsewhere than on Linux the test is skipped.
func (r *Role[A]) Start(t testing.TB, a A, opts ...process.Options) *Proc {
	t.Helper()
	roles.Lock()
	if roles.used == nil {
		roles.used = make(map[string]bool)
	}
	roles.used[r.name] = true
	roles.Unlock()

	var o process.Options
	if len(opts) > 0 {
		o = opts[0]
	}
	if os.Getenv(noChildren) != "" {
		t.Skipf("start %s: %s is set", r.name, noChildren)
	}
	hear, tell, err := os.Pipe()
	if err != nil {
		t.Fatalf("start %s: %v", r.name, err)
	}
	defer hear.Close()
	read, say, err := os.Pipe()
	if err != nil {
		tell.Close()
		t.Fatalf("start %s: %v", r.name, err)
	}
	defer say.Close()
	o.Files = append([]*os.File{hear, say}, o.Files...)
	p, err := process.Start(context.Background(), r.f, a, o)
	if err != nil {
		tell.Close()
		read.Close()
		if errors.Is(err, errors.ErrUnsupported) && runtime.GOOS != "linux" {
			NeedLinux(t, "processes are started there alone")
		}
		t.Fatalf("start %s: %v", r.name, err)
	}
	Watch(t)
	c := &Proc{t: t, p: p, lines: bufio.NewReader(read), tell: tell}
	t.Cleanup(func() {
		p.Kill()
		p.Join(context.Background())
		tell.Close()
		read.Close()
	})
	return c
}

// Proc is the test's side of a process with a role. Its methods end the test if something goes wrong, so they
// are for the test's own goroutine.
type Proc struct {
	t    testing.TB
	p    *process.Process
	tell *os.File

	mu    sync.Mutex
	lines *bufio.Reader
	said  []string
}

// Line waits for the next line that the process says. It ends the test if the process ends first.
func (p *Proc) Line() string {
	p.t.Helper()
	line, err := p.next()
	if err != nil {
		p.t.Fatalf("%s: %v", p.p.Name(), err)
	}
	return line
}

// WaitLine waits until the process says line, and passes over others. It ends the test if the process ends first.
func (p *Proc) WaitLine(line string) {
	p.t.Helper()
	for {
		got, err := p.next()
		if err != nil {
			p.t.Fatalf("%s: waiting for %q: %v", p.p.Name(), line, err)
		}
		if got == line {
			return
		}
	}
}

// next is the next line; the error tells all that was said and how the process ended.
func (p *Proc) next() (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	line, err := p.lines.ReadString('\n')
	if err == nil {
		line = strings.TrimSuffix(line, "\n")
		p.said = append(p.said, line)
		return line, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), settle)
	defer cancel()
	how := p.p.Join(ctx)
	if how == nil {
		how = errors.New("exit code 0")
	}
	return "", fmt.Errorf("no more lines (%v; %w); it said before:\n\t%s%s", err, how, strings.Join(p.said, "\n\t"), line)
}

// Tell says a line to the process, for its Hear.
func (p *Proc) Tell(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.tell, line+"\n"); err != nil {
		p.t.Fatalf("%s: tell %q: %v", p.p.Name(), line, err)
	}
}

// Kill sends SIGKILL and returns at once; Wait waits for the end.
func (p *Proc) Kill() {
	p.t.Helper()
	if err := p.p.Kill(); err != nil {
		p.t.Fatal(err)
	}
}

// Stop stops the process (SIGSTOP) and returns when all its threads have stopped. It ends the test if the
// process has ended.
func (p *Proc) Stop() {
	p.t.Helper()
	if !p.p.Alive() {
		p.t.Fatalf("%s: stop: it has ended: %v", p.p.Name(), p.Wait())
	}
	if err := sys.StopProcess(p.p.Pid()); err != nil {
		p.t.Fatalf("%s: stop: %v", p.p.Name(), err)
	}
}

// Continue lets a stopped process go on (SIGCONT).
func (p *Proc) Continue() {
	p.t.Helper()
	if err := sys.ContinueProcess(p.p.Pid()); err != nil {
		p.t.Fatalf("%s: continue: %v", p.p.Name(), err)
	}
}

// Wait waits for the end of the process and is nil after exit code 0 (see process.Process.Join).
func (p *Proc) Wait() error { return p.p.Join(context.Background()) }

// Pid is the process's number.
func (p *Proc) Pid() int { return p.p.Pid() }

// ExitCode waits for the end of the process; the code is -N after signal N.
func (p *Proc) ExitCode() int {
	p.Wait()
	code, _ := p.p.ExitCode()
	return code
}

// Process is the process itself, for what else there is to do with it.
func (p *Proc) Process() *process.Process { return p.p }

// Child is the role's side. Its methods panic if the test no longer listens.
type Child struct {
	mu    sync.Mutex
	lines *bufio.Reader
	say   *os.File
}

// The descriptors of a role's pipes: the first of process.Options.Files.
const (
	fdHear = 3
	fdSay  = 4
)

func newChild() *Child {
	return &Child{lines: bufio.NewReader(os.NewFile(fdHear, "hear")), say: os.NewFile(fdSay, "say")}
}

// Say says a line to the test, for its Line and WaitLine. It may be called from any goroutine.
func (c *Child) Say(format string, args ...any) {
	if _, err := io.WriteString(c.say, fmt.Sprintf(format, args...)+"\n"); err != nil {
		panic(fmt.Errorf("proctest: say: %w", err))
	}
}

// Hear waits for the next line that the test tells. It may be called from any goroutine.
func (c *Child) Hear() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	line, err := c.lines.ReadString('\n')
	if err != nil {
		panic(fmt.Errorf("proctest: hear: %w", err))
	}
	return strings.TrimSuffix(line, "\n")
}
