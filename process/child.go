package process

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"

	"github.com/shoal-ipc/shoal/internal/inherit"
	"github.com/shoal-ipc/shoal/internal/lifetime"
	"github.com/shoal-ipc/shoal/internal/sys"
)

// Exit codes of a child (see the package's documentation).
const (
	exitError  = 1
	exitPanic  = 2 // Go's own
	exitMarker = 2
	exitOrphan = 129
)

// become makes this process the child that SHOAL_CHILD describes, and does not return.
func become(text string) {
	growStack(false)
	control, err := adopt(text)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %s is not for this process: %v\n", filepath.Base(os.Args[0]), markerName, err)
		os.Exit(exitMarker)
	}

	from := newReceiver(func(p []byte) (int, []*os.File, bool, error) { return sys.ReceivePacket(control, p) }, math.MaxInt)
	up := newLine(control)
	in := interrupts{ignored: signal.Ignored(os.Interrupt), arrived: make(chan os.Signal, 1)}
	if !in.ignored {
		// SIGTERM keeps its effect. So does SIGINT if the function wants that: signal.Reset.
		signal.Notify(in.arrived, os.Interrupt)
	}
	// The parent has sent the call long ago, as a rule: reading it here spares a start two changes of threads.
	c, ctx := awaitCall(control, from, up, in)
	if runtime.GOMAXPROCS(0) == 1 {
		ctx.Look(func() bool { return arrived(control) })
	}
	go func() {
		for range in.arrived {
			ctx.End(context.Canceled, errInterrupted)
		}
	}()
	go listen(from, up, ctx, in)
	setFamily(c, up)
	SetAuthKey(c.key)
	run(ctx, c, control)
}

// interrupts are what becomes of SIGINT in a child.
type interrupts struct {
	ignored bool // the program was told to ignore it; Process.Interrupt ends the context all the same
	arrived chan os.Signal
}

// interrupt does what the parent's Interrupt asks for. SIGINT has the effect that the function gives it, and is
// sent only now, since it would kill a process that has just begun.
func (in interrupts) interrupt(ctx *lifetime.Context) {
	if in.ignored {
		ctx.End(context.Canceled, errInterrupted)
		return
	}
	signalSelf(os.Interrupt)
}

// growStack makes the stack of this goroutine 32 KiB large, which a child needs in any case: Go would double it
// four times, and each time take memory of that size for several goroutines, which takes longer.
//
//go:noinline
func growStack(never bool) byte {
	if never {
		var frame [24 << 10]byte
		return first(&frame)
	}
	return 0
}

//go:noinline
func first(frame *[24 << 10]byte) byte { return frame[0] }

// errInterrupted is the cause of the end of a context that SIGINT ended.
var errInterrupted = errors.New("process: interrupted")

// awaitCall returns what the parent wants to be run, and its context, when all else that came with it is done:
// a context that has ended is so from the beginning.
func awaitCall(control *os.File, from *receiver, up *line, in interrupts) (c call, ctx *lifetime.Context) {
	for ctx == nil || arrived(control) {
		m, err := from.next()
		switch {
		case err != nil:
		case m.kind == kindCall && ctx == nil:
			if c, err = decodeCall(m.body); err == nil {
				ctx = lifetime.New(c.deadline())
			}
		default:
			err = hear(m, up, ctx, in)
		}
		if err != nil {
			orphaned(err)
		}
	}
	return c, ctx
}

// arrived reports whether reading would not wait.
func arrived(control *os.File) bool {
	n, err := sys.Unread(control)
	return n > 0 && err == nil
}

// listen does what the parent says after that, and ends this process with the parent.
func listen(from *receiver, up *line, ctx *lifetime.Context, in interrupts) {
	for {
		m, err := from.next()
		if err == nil {
			err = hear(m, up, ctx, in)
		}
		if err != nil {
			orphaned(err)
		}
	}
}

// hear does what the parent says but the call; until that has come ctx is nil.
func hear(m message, up *line, ctx *lifetime.Context, in interrupts) error {
	switch {
	case m.kind == kindCancel && ctx != nil:
		c, err := decodeCancellation(m.body)
		if err == nil {
			c.end(ctx)
		}
		return err
	case m.kind == kindInterrupt && ctx != nil:
		in.interrupt(ctx)
		return nil
	}
	return up.hear(m)
}

// orphaned ends this process when the parent has ended, or says what makes no sense.
func orphaned(err error) {
	if errors.Is(err, errProtocol) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitMarker)
	}
	os.Exit(exitOrphan)
}

// adopt takes over the inherited descriptors.
func adopt(text string) (control *os.File, err error) {
	m, err := parseMarker(text)
	if err != nil {
		return nil, err
	}
	// Before all else: what was inherited must not be inherited further.
	own := []int{m.control}
	for _, s := range m.segments {
		own = append(own, s.memory, s.alive)
	}
	for _, fd := range own {
		if err := sys.SetCloseOnExec(fd); err != nil {
			return nil, fmt.Errorf("descriptor %d: %w", fd, err)
		}
	}
	for fd := firstFile; fd < m.control; fd++ {
		sys.SetCloseOnExec(fd) // may have been closed while packages were initialised: the user's own affair
	}
	if id := buildID(); !sameBuild(m.build, id) {
		return nil, fmt.Errorf("it was set by build %q, and this is build %q", m.build, id)
	}
	if control, err = sys.AdoptControl(m.control); err != nil {
		return nil, err
	}
	for _, s := range m.segments {
		inherit.Put(s.segment())
	}
	return control, nil
}

// run calls the function and ends the process. The error is in the kernel's hands before.
func run(ctx *lifetime.Context, c call, control *os.File) {
	ended := false
	defer func() {
		if ended {
			return
		}
		value := recover()
		if value == nil {
			report(control, encodeError(errGoexit, false, ""))
			os.Exit(exitError)
		}
		report(control, encodeError(value, true, string(debug.Stack())))
		panic(value) // so that Go prints it, dumps what it was told to dump, and exits with exitPanic
	}()

	argument := c.argument
	c.argument = nil // may be large: garbage as soon as it is decoded
	var err error
	if f := lookup(c.function); f != nil {
		err = f.run(ctx, argument)
	} else {
		err = unknownFunction(c.function)
	}
	if err != nil {
		ctx.End(context.Canceled, err) // for its own children, before they are joined
	}
	if lost := Finish(context.Background()); lost != nil && ctx.Err() == nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", c.name, lost)
	}
	if err != nil {
		message := encodeError(err, false, "")
		ended = true
		report(control, message)
		os.Exit(exitError)
	}
	ended = true
	os.Exit(0)
}

// errGoexit is the error of a function that neither returned nor panicked.
var errGoexit = errors.New("process: the function called runtime.Goexit")

// report hands the function's error to the kernel. If the parent has ended there is nobody to tell.
func report(control *os.File, message []byte) { send(control, kindError, message) }
