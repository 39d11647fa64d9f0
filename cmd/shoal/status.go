package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/term"
)

// status is a line on standard error that says what goes on and is taken away when it is over. The nil status, for
// when standard error is no terminal, shows nothing.
type status struct {
	shown time.Time // last
}

func newStatus() *status {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil
	}
	return new(status)
}

const eraseLine = "\r\x1b[K"

// show changes the line, ten times a second at most.
func (s *status) show(format string, args ...any) {
	if s == nil || time.Since(s.shown) < 100*time.Millisecond {
		return
	}
	s.shown = time.Now()
	fmt.Fprint(os.Stderr, eraseLine+fmt.Sprintf(format, args...))
}

// clear takes the line away.
func (s *status) clear() {
	if s != nil && !s.shown.IsZero() {
		fmt.Fprint(os.Stderr, eraseLine)
	}
}
