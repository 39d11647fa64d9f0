package process_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/process"
)

// Functions for tests to start.
var (
	nothing = process.Register("nothing", func(ctx context.Context, _ process.None) error { return nil })

	printName = process.Register("print-name", func(ctx context.Context, _ process.None) error {
		fmt.Println(process.Current().Name())
		return nil
	})

	printText = process.Register("print-text", func(ctx context.Context, text string) error {
		_, err := fmt.Print(text)
		return err
	})

	printBoth = process.Register("print-both", func(ctx context.Context, _ process.None) error {
		for i := range 100 {
			fmt.Printf("out %d\n", i)
			fmt.Fprintf(os.Stderr, "err %d\n", i)
		}
		return nil
	})

	untilDone = process.Register("until-done", func(ctx context.Context, _ process.None) error {
		<-ctx.Done()
		return ctx.Err()
	})

	fail = process.Register("fail", func(ctx context.Context, text string) error { return errors.New(text) })

	exit = process.Register("exit", func(ctx context.Context, code int) error {
		os.Exit(code)
		return nil
	})

	sum = process.Register("sum", func(ctx context.Context, a SumArgs) error {
		if sha256.Sum256(a.Data) != a.Sum {
			return errors.New("the sum is another")
		}
		return ctx.Err()
	})

	copyInput = process.Register("copy-input", func(ctx context.Context, _ process.None) error {
		_, err := io.Copy(os.Stdout, os.Stdin)
		return err
	})

	getenv = process.Register("getenv", func(ctx context.Context, name string) error {
		value, ok := os.LookupEnv(name)
		fmt.Printf("%q %t", value, ok)
		return nil
	})

	getwd = process.Register("getwd", func(ctx context.Context, _ process.None) error {
		dir, err := os.Getwd()
		fmt.Print(dir)
		return err
	})

	readFiles = process.Register("read-files", func(ctx context.Context, n int) error {
		for i := range n {
			f := os.NewFile(uintptr(3+i), "")
			if _, err := io.Copy(os.Stdout, f); err != nil {
				return err
			}
		}
		return nil
	})

	goexit = process.Register("goexit", func(ctx context.Context, _ process.None) error {
		runtime.Goexit()
		return nil
	})

	panics = process.Register("panics", func(ctx context.Context, how string) error {
		switch how {
		case "error":
			panic(fmt.Errorf("wrapped: %w", os.ErrNotExist))
		case "runtime":
			var a []int
			_ = a[len(how)]
		}
		panic(how)
	})

	returns = process.Register("returns", func(ctx context.Context, name string) error { return returned[name] })

	// fails as its own child does
	relays = process.Register("relays", func(ctx context.Context, name string) error {
		p, err := process.Start(ctx, returns, name)
		if err != nil {
			return err
		}
		return p.Join(ctx)
	})

	failIfFirst = process.Register("fail-if-first", func(ctx context.Context, i int) error {
		if i == 0 {
			return errFirst
		}
		<-ctx.Done()
		return fmt.Errorf("sibling %d: %w", i, ctx.Err())
	})
	errFirst = errors.New("the first")
	_        = process.RegisterError("process_test: the first", errFirst)

	// leaves a process of another kind behind, which holds its output open until descriptor 3 ends
	leavesSomebody = process.Register("leaves-somebody", func(ctx context.Context, _ process.None) error {
		cmd := exec.Command("cat")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.NewFile(3, ""), os.Stdout, os.Stderr
		if err := cmd.Start(); err != nil {
			return err
		}
		fmt.Print("left")
		return nil
	})
)

// SumArgs are some bytes and what they must add up to.
type SumArgs struct {
	Data []byte
	Sum  [sha256.Size]byte
}

// Roles for tests that talk with the child.
var (
	holds = proctest.NewRole("holds", func(ctx context.Context, c *proctest.Child, _ process.None) error {
		c.Say("holding")
		c.Hear()
		return nil
	})

	waits = proctest.NewRole("waits", func(ctx context.Context, c *proctest.Child, _ process.None) error {
		c.Say("waiting")
		<-ctx.Done()
		c.Say("%v", ctx.Err())
		return ctx.Err()
	})

	ignores = proctest.NewRole("ignores", func(ctx context.Context, c *proctest.Child, _ process.None) error {
		c.Say("waiting")
		<-ctx.Done()
		c.Say("ignoring")
		select {}
	})

	resets = proctest.NewRole("resets", func(ctx context.Context, c *proctest.Child, _ process.None) error {
		signal.Reset(os.Interrupt)
		c.Say("reset")
		<-ctx.Done()
		return ctx.Err()
	})

	introduces = proctest.NewRole("introduces", func(ctx context.Context, c *proctest.Child, _ process.None) error {
		self, parent := process.Current(), process.Parent()
		c.Say("%s %d %t", self.Name(), self.Pid(), self.Alive())
		c.Say("%s %d %t", parent.Name(), parent.Pid(), parent.Alive())
		c.Say("%d", len(process.Children()))
		c.Hear()
		return nil
	})

	// starts a child that never returns by itself, says its number, and does as told
	founds = proctest.NewRole("founds", func(ctx context.Context, c *proctest.Child, deaf bool) error {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		defer r.Close()
		p, err := process.Start(ctx, staysForever, deaf, process.Options{Files: []*os.File{w}})
		if err != nil {
			return err
		}
		w.Close()
		if _, err := io.ReadFull(r, make([]byte, 2)); err != nil { // its function runs
			return err
		}
		c.Say("%d", p.Pid())
		switch c.Hear() {
		case "fail":
			return errors.New("told to")
		case "panic":
			panic("told to")
		case "exit":
			os.Exit(7)
		case "return":
			if err := p.Kill(); err != nil {
				return err
			}
		}
		return nil
	})

	// looks at its context if it is not deaf
	staysForever = process.Register("stays-forever", func(ctx context.Context, deaf bool) error {
		fmt.Fprint(os.NewFile(3, ""), "ok")
		for deaf {
			runtime.Gosched()
		}
		<-ctx.Done()
		return ctx.Err()
	})

	// tells what signals its parent
	signalsParent = proctest.NewRole("signals-parent", func(ctx context.Context, c *proctest.Child, _ process.None) error {
		p, err := process.Start(ctx, interruptsParent, process.None{})
		if err != nil {
			return err
		}
		<-ctx.Done()
		c.Say("interrupted")
		return p.Join(context.Background())
	})

	interruptsParent = process.Register("interrupts-parent", func(ctx context.Context, _ process.None) error {
		if err := process.Current().Join(ctx); err == nil {
			return errors.New("joined itself")
		}
		if err := process.Parent().Close(); err == nil {
			return errors.New("closed a parent that runs")
		}
		if err := process.Parent().Interrupt(); err != nil {
			return err
		}
		<-ctx.Done() // the parent's context was ours
		return nil
	})

	limits = proctest.NewRole("limits", func(ctx context.Context, c *proctest.Child, _ process.None) error {
		return startUnderLimits(ctx)
	})
)

// startUnderLimits starts a child under each limit of descriptors from too few for anything to enough, and
// wants no descriptor or child to stay behind.
func startUnderLimits(ctx context.Context) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if err := run(ctx); err != nil { // what is opened once is open now
		return err
	}
	before := openFiles()
	failed := 0
	for n := 3; ; n++ {
		if n == 200 {
			return fmt.Errorf("no child could be started with a limit of %d descriptors", n)
		}
		narrow := syscall.Rlimit{Cur: uint64(n), Max: limit.Max}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &narrow); err != nil {
			return err
		}
		err := run(ctx)
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			return err
		}
		if after := openFiles(); !slices.Equal(before, after) {
			return fmt.Errorf("with a limit of %d (%v): descriptors %v, before %v", n, err, after, before)
		}
		if c := process.Children(); len(c) != 0 {
			return fmt.Errorf("with a limit of %d (%v): children %v", n, err, c)
		}
		if err == nil {
			break
		}
		if process := (*process.ExitError)(nil); !errors.As(err, &process) {
			failed++ // here, not in the child, which has the same limit
		}
	}
	if failed < 6 {
		return fmt.Errorf("only %d starts failed: the limit did not limit", failed)
	}
	return nil
}

func run(ctx context.Context) error {
	var out strings.Builder
	o := process.Options{Stdin: strings.NewReader(""), Stdout: &out, Stderr: io.Discard}
	p, err := process.Start(ctx, printText, "hello", o)
	if err != nil {
		return err
	}
	if err := p.Join(ctx); err != nil {
		return err
	}
	if out.String() != "hello" {
		return fmt.Errorf("the child printed %q", out.String())
	}
	return nil
}

// openFiles are the numbers of this process's descriptors, without the one used to find out.
func openFiles() (numbers []int) {
	for fd := range 1024 {
		if _, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err == nil {
			numbers = append(numbers, fd)
		}
	}
	return numbers
}

// join joins p and fails the test unless it succeeded.
func join(t testing.TB, p *process.Process) {
	t.Helper()
	if err := p.Join(context.Background()); err != nil {
		t.Errorf("Join: %v", err)
	}
}

// sameLines compares without regard to order.
func sameLines(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
