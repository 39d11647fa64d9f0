package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/shoal-ipc/shoal/internal/sys"
)

// Process is a child, the parent, or this process. All methods may be called from any goroutine.
type Process struct {
	name     string
	pid      int
	relation relation
	daemon   bool
	send     func(os.Signal) error
	stop     context.CancelCauseFunc // of a child: ends its context
	line     *line                   // of a child that Start started, and of the parent
	closed   atomic.Bool

	done  chan struct{} // of a child; closed when what follows is final
	code  int
	err   error  // what Join returns
	order uint64 // of its end among the children

	mark struct { // for Fd
		sync.Mutex
		read, write *os.File // write is closed when the process has ended, which makes read readable
	}
}

// relation is what a Process is to this process.
type relation byte

const (
	child relation = iota
	self
	parent
)

// family holds this process and its living relatives. Children leave it when they end.
var family struct {
	sync.Mutex
	begun    bool // Init or Main was called
	current  *Process
	parent   *Process
	children []*Process // in the order of their starts
	ended    uint64     // children so far
	watching []*failure // of the calls of Finish
}

// failure is the first since a Finish began.
type failure struct{ err error }

// begin records that Init was called and reports whether this was the first time.
func begin() bool {
	family.Lock()
	defer family.Unlock()
	first := !family.begun
	family.begun = true
	return first
}

func begun() bool {
	family.Lock()
	defer family.Unlock()
	return family.begun
}

// setFamily makes this process a child, with a line to its parent.
func setFamily(c call, up *line) {
	family.Lock()
	defer family.Unlock()
	family.current = &Process{name: c.name, pid: os.Getpid(), daemon: c.daemon, relation: self, send: signalSelf}
	pid := c.pid
	family.parent = &Process{name: c.parent, pid: pid, daemon: c.daemonic, relation: parent, line: up, send: func(sig os.Signal) error {
		return signalParent(pid, sig)
	}}
}

// relatives are the parent and the living children that can be asked, but for the one behind except.
func relatives(except *line) (ps []*Process) {
	family.Lock()
	defer family.Unlock()
	if p := family.parent; p != nil && p.line != except {
		ps = append(ps, p)
	}
	for _, p := range family.children {
		if p.line != nil && p.line != except {
			ps = append(ps, p)
		}
	}
	return ps
}

// Current is this process. Its name is "main" in the process that the user started.
func Current() *Process {
	family.Lock()
	defer family.Unlock()
	if family.current == nil {
		family.current = &Process{name: "main", pid: os.Getpid(), relation: self, send: signalSelf}
	}
	return family.current
}

// Parent is this process's parent if that is a process of this program, else nil. It is alive as long as
// anybody can ask: with it this process ends.
func Parent() *Process {
	family.Lock()
	defer family.Unlock()
	return family.parent
}

// Children are the living children of this process, in the order in which they were started. The slice is the
// caller's.
func Children() []*Process {
	family.Lock()
	defer family.Unlock()
	return slices.Clone(family.children)
}

// enter makes p one of the living children.
func (p *Process) enter() {
	family.Lock()
	defer family.Unlock()
	family.children = append(family.children, p)
}

// leave records how p ended.
func (p *Process) leave(code int, err error) {
	family.Lock()
	defer family.Unlock()
	family.ended++
	p.code, p.err, p.order = code, err, family.ended
	for _, f := range family.watching {
		if f.err == nil && !p.daemon {
			f.err = err
		}
	}
	family.children = slices.DeleteFunc(family.children, func(q *Process) bool { return q == p })
	close(p.done)
	p.markEnd()
}

// Name is what Options.Name said, or the function's name and a number; "main" for the process that the user
// started.
func (p *Process) Name() string { return p.name }

// Pid is the process's number in the operating system. It may be another's once the process has ended.
func (p *Process) Pid() int { return p.pid }

// Daemon reports whether Options.Daemon was said of the process.
func (p *Process) Daemon() bool { return p.daemon }

// Alive reports whether the process runs. It panics with os.ErrClosed after Close.
func (p *Process) Alive() bool {
	p.mustBeOpen()
	return !p.ended()
}

// ExitCode is -N after signal N; ok is false while the process runs. It panics with os.ErrClosed after Close.
func (p *Process) ExitCode() (code int, ok bool) {
	p.mustBeOpen()
	if !p.ended() {
		return 0, false
	}
	return p.code, true
}

func (p *Process) mustBeOpen() {
	if p.closed.Load() {
		panic(os.ErrClosed)
	}
}

func (p *Process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Join waits for the end: nil after exit code 0, *ExitError after any other, ctx's error if the process still
// runs. It may be called again, from any goroutine; of a process that has ended it tells the same whatever
// ctx is. After Close it returns os.ErrClosed. A process cannot join itself: that is an error at once. Nor
// will a child ever see its parent's end, with which it ends itself: such a Join waits for ctx.
func (p *Process) Join(ctx context.Context) error {
	_, err := p.join(ctx)
	return err
}

// join is Join; ended says that err is how the process ended.
func (p *Process) join(ctx context.Context) (ended bool, err error) {
	if p.closed.Load() {
		return false, fmt.Errorf("process: join %s: %w", p.name, os.ErrClosed)
	}
	if p.relation == self {
		return false, errors.New("process: a process cannot join itself")
	}
	if p.ended() {
		return true, p.err
	}
	select {
	case <-p.done:
		return true, p.err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// Done is closed when the process has ended and what it wrote to writers of its Options has been written. Of this
// process and its parent it never is.
func (p *Process) Done() <-chan struct{} { return p.done }

// Fd is a descriptor that is readable when Done is closed, for pipe.Wait, poll and epoll: nothing is ever to be
// read from it, and it is not to be closed. It is made by the first call, and is the process's until Close, or
// until p is garbage. It is -1 after Close, of this process and its parent, and when there are no more
// descriptors.
func (p *Process) Fd() int {
	if p.relation != child {
		return -1
	}
	p.mark.Lock()
	defer p.mark.Unlock()
	if p.mark.read == nil && !p.closed.Load() {
		var err error
		if p.mark.read, p.mark.write, err = sys.Mark(); err != nil {
			return -1
		}
		if p.ended() { // PAIRS WITH leave: done, then markEnd
			p.mark.write.Close()
			p.mark.write = nil
		}
	}
	if p.mark.read == nil {
		return -1
	}
	return int(p.mark.read.Fd())
}

func (p *Process) markEnd() {
	p.mark.Lock()
	defer p.mark.Unlock()
	if p.mark.write != nil {
		p.mark.write.Close()
		p.mark.write = nil
	}
}

// Interrupt sends SIGINT, which ends the context of a child. A child that has not got so far as to have one
// is told to end it when it has, and so is one that ignores the signal because this program does, as jobs in
// the background do. Interrupt returns at once, as Terminate and Kill do. All three do nothing if the process
// has ended, and return os.ErrClosed after Close.
func (p *Process) Interrupt() error { return p.signal(os.Interrupt) }

// Terminate sends SIGTERM: the process ends at once, no deferred call runs, its own children end with it, and
// locks it held say locks.ErrOwnerDied. (A process that was not started by Start, and a function that asks
// for the signal, may do as they like.)
func (p *Process) Terminate() error { return p.signal(syscall.SIGTERM) }

// Kill sends SIGKILL: as Terminate, and nothing can be done against it.
func (p *Process) Kill() error { return p.signal(os.Kill) }

func (p *Process) signal(sig os.Signal) error {
	if p.closed.Load() {
		return fmt.Errorf("process: signal %s: %w", p.name, os.ErrClosed)
	}
	if err := p.send(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("process: signal %s (pid %d): %w", p.name, p.pid, err)
	}
	return nil
}

// signalSelf sends a signal to this process.
func signalSelf(sig os.Signal) error {
	p, err := os.FindProcess(os.Getpid())
	if err != nil {
		return err
	}
	defer p.Release()
	return p.Signal(sig)
}

// signalParent sends a signal to the parent, and to nobody who got its number later: the process that was
// found is the parent if this process is still its child.
func signalParent(pid int, sig os.Signal) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	defer p.Release()
	if os.Getppid() != pid {
		return os.ErrProcessDone
	}
	return p.Signal(sig)
}

// Close forgets a process that has ended; it is an error while it runs. A process that has ended holds no
// resources but memory, and what Fd returned, so Close may be left out. It may be called again.
func (p *Process) Close() error {
	if !p.ended() {
		return fmt.Errorf("process: close %s (pid %d): it still runs", p.name, p.pid)
	}
	p.closed.Store(true)
	p.mark.Lock()
	defer p.mark.Unlock()
	if p.mark.read != nil {
		p.mark.read.Close()
		p.mark.read = nil
	}
	return nil
}

// JoinAll joins all of ps and returns the failure of the one that ended first among those that failed. If one
// still runs when ctx ends, or cannot be joined, the error is what Join says of that one.
func JoinAll(ctx context.Context, ps ...*Process) error {
	var first error
	var order uint64
	for _, p := range ps {
		ended, err := p.join(ctx)
		if !ended {
			return err
		}
		if err != nil && (first == nil || p.order < order) {
			first, order = err, p.order
		}
	}
	return first
}
