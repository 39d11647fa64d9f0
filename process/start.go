package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/shoal-ipc/shoal/internal/codec"
	"github.com/shoal-ipc/shoal/internal/inherit"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/shm"
)

// Options are the rarer wishes of a process.
type Options struct {
	// Name is the process's; "" means the function's name and a number: "count-1".
	Name string
	// Daemon says that Finish, and so Main, ends the process when it has joined those that are no daemons,
	// instead of joining it: its context ends, and it is killed if it has not ended within the grace after
	// that. How it ends is no failure of the program. A daemon may have children like any process. Whether they
	// are daemons says their own Daemon; all end with it.
	Daemon bool
	// Grace is the time between the end of ctx and SIGKILL; 0 means 5 s, less than 0 means none. The *ExitError of who
	// is killed then says so.
	Grace time.Duration
	// Env is added to this process's environment.
	Env []string
	// Dir is the working directory; "" means this process's.
	Dir string
	// Stdin nil means /dev/null. A goroutine copies from a reader that is no *os.File; it may stay in a Read
	// after the process has ended.
	Stdin io.Reader
	// Stdout and Stderr nil mean this process's (not /dev/null as in os/exec). To a writer that is no
	// *os.File a goroutine copies until the process ends (what processes that it leaves behind write later is
	// lost); Done waits for that. One writer for several processes must bear calls from several goroutines. A
	// writer that returns an error is not called again, and the process finds its pipe broken.
	Stdout, Stderr io.Writer
	// Prefix puts the name and a colon before each line of output. Lines are written whole, those longer than
	// 64 KiB in parts.
	Prefix bool
	// Files are inherited as descriptors 3, 4, …; otherwise only what the argument needs is inherited.
	// They remain the caller's, to close when Start has returned.
	Files []*os.File
}

// defaultGrace is what Grace 0 means.
const defaultGrace = 5 * time.Second

// Start runs f(a) in a new process. The child's context has the deadline of ctx and ends when ctx does, with
// its cause (as a *RemoteError), but has none of its values; a child that has not ended within the grace after
// that (its own children included) is killed. When ctx has ended already nothing is started and its error
// returned. Shared objects in a arrive usable; other data in a is copied twice on the way, so what is large
// belongs into a shared array or block. Start does not wait for the child to read its argument, of which it has
// its own copy.
//
// The error is ErrInit in a program that called neither Init nor Main, and errors.ErrUnsupported on systems
// other than Linux; otherwise it is that of encoding the argument or of the operating system. The child does
// not exist then.
func Start[A any](ctx context.Context, f Func[A], a A, opts ...Options) (*Process, error) {
	return start(ctx, f.function, &a, one(opts))
}

// Run starts one process for each argument and joins them all. When one fails the contexts of the others end,
// and its failure is their cause; the error is that of the first to fail, or of Start. Without arguments it
// starts nothing; a function that needs none is run with one None.
func Run[A any](ctx context.Context, f Func[A], as ...A) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var ps []*Process
	for _, a := range as {
		p, err := start(ctx, f.function, &a, Options{})
		if err != nil {
			// If a sibling's failure has ended ctx, that is the news, and this but its consequence.
			consequence := ctx.Err() != nil
			cancel(err)
			if first := JoinAll(context.Background(), ps...); first != nil && consequence {
				return first
			}
			return err
		}
		ps = append(ps, p)
		go func() {
			<-p.done
			if p.err != nil {
				cancel(p.err)
			}
		}()
	}
	return JoinAll(context.Background(), ps...) // they end with ctx, by force if need be
}

// one is the Options that a caller gave or left out.
func one(opts []Options) Options {
	switch len(opts) {
	case 0:
		return Options{}
	case 1:
		return opts[0]
	}
	panic(errors.New("process: more than one Options"))
}

// start is Start without its type parameter; argument points to an A.
func start(ctx context.Context, f *function, argument any, o Options) (*Process, error) {
	switch {
	case f == nil:
		return nil, errUnregistered
	case !begun():
		return nil, ErrInit
	}
	name := o.Name
	if name == "" {
		name = fmt.Sprintf("%s-%d", f.name, f.started.Add(1))
	}
	p, err := launch(ctx, f, name, argument, o)
	if err != nil {
		return nil, fmt.Errorf("process: start %s: %w", name, err)
	}
	return p, nil
}

// launch starts the child and everything that attends to it. On an error nothing of that is left.
func launch(ctx context.Context, f *function, name string, argument any, o Options) (*Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	data, err := codec.Marshal(argument)
	if err != nil {
		return nil, err
	}
	shared, err := objects(argument)
	if err != nil {
		return nil, err
	}
	ours, theirs, err := sys.ControlPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	message := call{
		function: f.name, name: name, daemon: o.Daemon, parent: Current().Name(), pid: os.Getpid(), daemonic: Current().Daemon(),
		key: AuthKey(), argument: data,
	}
	message.until(ctx)
	text := message.encode()
	small := len(text) <= packetSize-packetHead
	if small { // it is there before the child is, and needs no goroutine
		if err := send(ours, kindCall, text); err != nil {
			ours.Close()
			return nil, err
		}
		text = nil
	}

	cmd := &exec.Cmd{Path: executable(), Args: slices.Clone(os.Args)}
	c, err := spawn(ctx, cmd, name, o, theirs, shared, func(segments []passed) []string {
		m := marker{build: buildID(), control: firstFile + len(o.Files), segments: segments}
		return []string{markerName + "=" + m.String()}
	})
	runtime.KeepAlive(argument)
	if err != nil {
		ours.Close()
		return nil, err
	}
	c.control = tail{file: ours}
	c.line = newLine(ours)
	c.enter()
	c.attend(graceOf(o), text)
	return c.Process, nil
}

// spawn starts cmd with what o says, and with a participant in the segment of each of the objects, which the
// variables that environ makes of them tell; control, which may be nil, comes before them. On an error nothing
// of that is left. The process is not yet one of the family.
func spawn(ctx context.Context, cmd *exec.Cmd, name string, o Options, control *os.File, objects []shm.Object,
	environ func([]passed) []string) (_ *attended, err error) {
	for i, file := range o.Files {
		if err := usable(file); err != nil {
			return nil, fmt.Errorf("file %d of Options.Files: %w", i, err)
		}
	}
	gifts, err := prepare(objects)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, g := range gifts {
			if err == nil {
				g.Sent()
			} else {
				g.Abandon()
			}
		}
		runtime.KeepAlive(objects)
	}()
	files := slices.Clone(o.Files)
	if control != nil {
		files = append(files, control)
	}
	var segments []passed
	for _, g := range gifts {
		n := firstFile + len(files)
		segments = append(segments, passed{uuid: g.UUID, memory: n, alive: n + 1, owner: g.Owner})
		files = append(files, g.Memory, g.Alive)
	}
	cmd.Dir, cmd.ExtraFiles = o.Dir, files
	cmd.Env = append(append(cmd.Environ(), o.Env...), environ(segments)...)
	dieWithParent(cmd)

	pumps, pipes, err := connectOutput(cmd, name, o)
	if err != nil {
		return nil, err
	}
	var stdin io.WriteCloser
	switch in := o.Stdin.(type) {
	case nil:
	case *os.File:
		cmd.Stdin = in
	default:
		if stdin, err = cmd.StdinPipe(); err != nil {
			closePipes(pumps, pipes)
			return nil, err
		}
	}
	onSpawner(func() { err = cmd.Start() })
	if err != nil {
		closePipes(pumps, pipes)
		return nil, err
	}
	closePipes(nil, pipes)
	if stdin != nil {
		go func() {
			io.Copy(stdin, o.Stdin)
			stdin.Close()
		}()
	}
	c := &attended{
		Process: &Process{name: name, pid: cmd.Process.Pid, daemon: o.Daemon, relation: child, done: make(chan struct{})},
		cmd:     cmd,
		pumps:   pumps,
		exited:  make(chan struct{}),
	}
	c.ctx, c.stop = context.WithCancelCause(ctx)
	c.send = c.signal
	return c, nil
}

func graceOf(o Options) time.Duration {
	if o.Grace == 0 {
		return defaultGrace
	}
	return o.Grace
}

// usable reports an error for a file that cannot be inherited.
func usable(f *os.File) error {
	c, err := f.SyscallConn() // os.ErrInvalid for nil
	if err != nil {
		return err
	}
	if c.Control(func(uintptr) {}) != nil {
		return os.ErrClosed
	}
	return nil
}

// prepare readies a participant for the child in each segment that has one of the objects.
func prepare(objects []shm.Object) (gifts []*inherit.Gift, err error) {
	given := make(map[inherit.UUID]*inherit.Gift) // of two Segments of one name the child gets one
	for _, o := range objects {
		id := o.Handle().Segment
		g := given[id]
		if g == nil {
			if g, err = o.Segment().Prepare(); err != nil {
				for _, g := range gifts {
					g.Abandon()
				}
				return nil, err
			}
			given[id] = g
			gifts = append(gifts, g)
		}
		shm.Bind(o, g)
	}
	return gifts, nil
}

// executable is this program, also if its file has been replaced or removed since.
func executable() string {
	const link = "/proc/self/exe"
	if _, err := os.Lstat(link); err == nil {
		return link
	}
	path, err := os.Executable()
	if err != nil {
		return link // whose absence will be the error
	}
	return path
}

// awaitExit returns when a child has ended, or soon if it cannot tell. (A variable for tests.)
var awaitExit = sys.AwaitExit

// attended is a child with what its parent needs to attend to it.
type attended struct {
	*Process
	ctx     context.Context // its lifetime; ends with Process.stop, too
	cmd     *exec.Cmd
	control tail // of a child that Start started
	pumps   []*pump
	exited  chan struct{} // closed when the process has been waited for
	called  chan struct{} // closed when the call has been sent; nil if it was before the start

	mu      sync.Mutex
	failure error
	overdue error // why it was killed, if it was after the grace
}

// attend starts the goroutines of a child: all end when the child does. None of them holds a thread. What is
// left of the call is sent, if there is something.
func (c *attended) attend(grace time.Duration, message []byte) {
	var talk sync.WaitGroup
	if c.line != nil {
		talk.Go(func() {
			c.listen()
			close(c.line.over)
		})
	}
	if message != nil {
		c.called = make(chan struct{})
		talk.Go(func() { c.sendCall(message) })
	}
	for _, p := range c.pumps {
		go p.run()
	}
	unkill := context.AfterFunc(c.ctx, func() {
		if c.line != nil {
			go func() { c.tell(kindCancel, cancellationOf(c.ctx).encode()) }() // the methods of the cause may wait
		} else {
			c.cmd.Process.Signal(syscall.SIGTERM)
		}
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-timer.C:
			c.mu.Lock()
			c.overdue = &overdueError{max(grace, 0), c.ctx.Err(), context.Cause(c.ctx)}
			c.mu.Unlock()
			c.cmd.Process.Kill()
		case <-c.exited:
		}
	})
	go func() {
		awaitExit(c.pid)
		err := c.cmd.Wait() // returns at once, unless awaitExit could not do its work
		close(c.exited)
		unkill()
		for _, p := range c.pumps {
			p.finish()
		}
		if c.line != nil {
			c.control.finish() // ends listen
			c.stopTelling()
			talk.Wait()
			c.control.file.Close()
		}
		c.stop(nil)
		c.leave(c.outcome(err))
	}()
}

// sendCall sends a call that is larger than a packet. An error means that the child has ended, or is about to.
func (c *attended) sendCall(message []byte) {
	defer close(c.called)
	err := send(c.control.file, kindCall, message)
	if err == nil || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	c.mu.Lock()
	if c.failure == nil {
		c.failure = err
	}
	c.mu.Unlock()
	c.cmd.Process.Kill() // it would wait for ever
}

// tell sends what comes after the call. It may have to wait for room, as long as the child lives, and an error
// means that it does not.
func (c *attended) tell(kind byte, body []byte) {
	if c.called != nil {
		<-c.called
	}
	send(c.control.file, kind, body)
}

// stopTelling frees tell from a Write that nobody will read: should a descendant of the child have its end.
func (c *attended) stopTelling() { c.control.file.SetWriteDeadline(time.Unix(1, 0)) }

// listen takes in what the child says.
func (c *attended) listen() {
	err := receive(newReceiver(c.control.receive, maxError), func(m message) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		switch {
		case m.kind == kindError && c.failure == nil:
			e, err := decodeError(m.body)
			if err != nil {
				return err
			}
			c.failure = e
		default:
			return c.line.hear(m)
		}
		return nil
	})
	if err == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure == nil && errors.Is(err, errProtocol) {
		c.failure = err
	}
}

// signal sends a signal. A SIGINT goes by way of the control socket: it must not come before the child can bear it.
func (c *attended) signal(sig os.Signal) error {
	if sig == os.Interrupt && c.line != nil {
		if c.Process.ended() {
			return os.ErrProcessDone
		}
		go c.tell(kindInterrupt, nil)
		return nil
	}
	return c.cmd.Process.Signal(sig)
}

// outcome says how the child ended; waited is the error of waiting for it.
func (c *attended) outcome(waited error) (code int, err error) {
	e := &ExitError{Name: c.name, Pid: c.pid, Err: c.failure}
	state := c.cmd.ProcessState
	if state == nil { // somebody else in this program has waited for it
		e.Code, e.Err = 255, waited
		return e.Code, e
	}
	e.Code = state.ExitCode()
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		e.Signal = status.Signal()
		e.Code = -int(e.Signal)
	}
	if c.mu.Lock(); e.Signal == syscall.SIGKILL && e.Err == nil {
		e.Err = c.overdue
	}
	c.mu.Unlock()
	if e.Code == 0 {
		return 0, nil
	}
	return e.Code, e
}
