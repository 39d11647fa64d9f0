package process_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/process"
)

func init() {
	// starts a daemon, whose child is one of the usual kind, a daemon that does not mind its context, one that
	// is no Go program, and a child that wants an answer from the first daemon after the function has returned
	linuxPrograms["daemons"] = func() {
		process.Main(func(ctx context.Context) error {
			question, ask, err := os.Pipe()
			if err != nil {
				return err
			}
			answer, reply, err := os.Pipe()
			if err != nil {
				return err
			}
			daemon := process.Options{Daemon: true, Grace: time.Hour, Files: []*os.File{question, reply}}
			if _, err := process.Start(ctx, answers, process.None{}, daemon); err != nil {
				return err
			}
			deaf, ready, err := os.Pipe()
			if err != nil {
				return err
			}
			if _, err := process.Start(ctx, hangs, process.None{}, process.Options{Daemon: true, Grace: -1, Files: []*os.File{ready}}); err != nil {
				return err
			}
			ready.Close()
			if _, err := io.ReadFull(deaf, make([]byte, 2)); err != nil {
				return err
			}
			if _, err := process.Command(ctx, []string{"sleep", "1000"}, nil, process.Options{Daemon: true, Grace: time.Hour}); err != nil {
				return err
			}
			_, err = process.Start(ctx, asksLate, os.Getpid(), process.Options{Files: []*os.File{answer, ask}})
			fmt.Println("returns")
			return err
		})
	}
	// Ctrl-C reaches all of it
	linuxPrograms["family"] = func() {
		process.Main(func(ctx context.Context) error {
			for range 2 {
				if _, err := process.Start(ctx, parents, process.None{}, process.Options{Grace: time.Hour}); err != nil {
					return err
				}
			}
			<-ctx.Done()
			fmt.Println("program", context.Cause(ctx))
			return nil
		})
	}
}

var (
	// answers one question, and ends with its context
	answers = process.Register("answers", func(ctx context.Context, _ process.None) error {
		p, err := process.Start(ctx, untilDone, process.None{}, process.Options{Grace: time.Hour})
		if err != nil {
			return err
		}
		if !process.Current().Daemon() || p.Daemon() {
			return errors.New("a daemon is none, or its child is one")
		}
		if _, err := io.ReadFull(os.NewFile(3, ""), make([]byte, 1)); err != nil {
			return err
		}
		fmt.Println("answers")
		if _, err := os.NewFile(4, "").WriteString("a"); err != nil {
			return err
		}
		<-ctx.Done()
		fmt.Println("daemon ends:", context.Cause(ctx))
		return ctx.Err()
	})

	asksLate = process.Register("asks-late", func(ctx context.Context, program int) error {
		if process.Current().Daemon() || process.Parent().Daemon() {
			return errors.New("I am a daemon")
		}
		if _, err := os.NewFile(4, "").WriteString("q"); err != nil {
			return err
		}
		if _, err := io.ReadFull(os.NewFile(3, ""), make([]byte, 1)); err != nil {
			return err
		}
		fmt.Println("answered")
		return nil
	})

	// has a child, and says when both run and when they end
	parents = process.Register("parents", func(ctx context.Context, _ process.None) error {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		p, err := process.Start(ctx, writesEnd, process.None{}, process.Options{Files: []*os.File{w}, Grace: time.Hour})
		if err != nil {
			return err
		}
		w.Close()
		if _, err := io.ReadFull(r, make([]byte, len("begun\n"))); err != nil {
			return err
		}
		fmt.Println("ready")
		<-ctx.Done()
		rest, err := io.ReadAll(r)
		fmt.Printf("child: %s", rest)
		return errors.Join(err, p.Join(context.Background()))
	})
)

// TestDaemons: at its end a program joins its children, and then ends the daemons among them, which is no failure.
func TestDaemons(t *testing.T) {
	code, stdout, stderr := finished(t, program(t, "daemons"))
	lines := strings.Split(stdout, "\n")
	want := []string{"returns", "answers", "answered", "daemon ends: process: the program has finished", ""}
	if code != 0 || stderr != "" || !sameLines(lines, want) {
		t.Errorf("exit code %d, stderr %q, it printed\n%s", code, stderr, stdout)
	}
	if slices.Index(lines, "answered") > slices.Index(lines, "daemon ends: process: the program has finished") {
		t.Errorf("a daemon was ended before one that needed it:\n%s", stdout)
	}
}

// TestFinishWithDaemons: an ended context ends Finish, and what daemons return is not its error.
func TestFinishWithDaemons(t *testing.T) {
	c := holds.Start(t, process.None{}, process.Options{Daemon: true})
	c.WaitLine("holding")
	if !c.Process().Daemon() {
		t.Error("it is no daemon")
	}
	d := start(t, fail, "nobody minds", process.Options{Daemon: true})
	<-d.Done()
	if err := process.Finish(canceled()); err != context.Canceled {
		t.Errorf("Finish with an ended context: %v", err)
	}
	c.Tell("go on")
	if err := process.Finish(context.Background()); err != nil {
		t.Errorf("Finish: %v", err)
	}
	if c := process.Children(); len(c) != 0 {
		t.Errorf("children %v", c)
	}
}

// TestInterruptFromTerminal: Ctrl-C, which all processes of a program get at once, ends them all in order.
func TestInterruptFromTerminal(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT} {
		cmd := program(t, "family")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if signal.Ignored(os.Interrupt) {
			t.Skip("needs SIGINT, which is ignored here")
		}
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		proctest.Must(t, err)
		proctest.Must(t, cmd.Start())
		for range 2 {
			line := make([]byte, len("ready\n"))
			if _, err := io.ReadFull(out, line); err != nil || string(line) != "ready\n" {
				t.Fatalf("%q, %v", line, err)
			}
		}
		proctest.Must(t, syscall.Kill(-cmd.Process.Pid, sig))
		rest, err := io.ReadAll(out)
		proctest.Must(t, err)
		if err := cmd.Wait(); err != nil || stderr.Len() > 0 {
			t.Errorf("%v, stderr %q", err, stderr.String())
		}
		want := []string{"program process: signal interrupt", "child: context canceled", "child: context canceled", ""}
		if !sameLines(strings.Split(string(rest), "\n"), want) {
			t.Errorf("it printed\n%s", rest)
		}
		if err := syscall.Kill(-cmd.Process.Pid, 0); err != syscall.ESRCH {
			t.Errorf("somebody is left: %v", err)
		}
	}
}
