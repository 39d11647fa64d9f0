package process

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"
	"syscall"

	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/ring"
	"github.com/shoal-ipc/shoal/shm"
)

// ExitError says how a process ended.
type ExitError struct {
	Name   string
	Pid    int
	Code   int            // -N after signal N
	Signal syscall.Signal // 0 if none
	Err    error          // a *RemoteError if the function returned an error or panicked
}

// Error implements error.
func (e *ExitError) Error() string {
	how := fmt.Sprintf("exit code %d", e.Code)
	if e.Signal != 0 {
		how = fmt.Sprintf("ended by signal %d (%v)", int(e.Signal), e.Signal)
	}
	if e.Err != nil {
		return fmt.Sprintf("process %s (pid %d): %s: %v", e.Name, e.Pid, how, e.Err)
	}
	return fmt.Sprintf("process %s (pid %d): %s", e.Name, e.Pid, how)
}

// Unwrap gives Err.
func (e *ExitError) Unwrap() error { return e.Err }

// RemoteError is an error of a function that ran in another process. errors.Is and errors.As see through it
// to the standard library's sentinels and syscall.Errno, to those of packages locks, ring and shm, and to
// what RegisterError named. Type, Text and Stack longer than 64 KiB are cut.
type RemoteError struct {
	Type  string // of the error, or of the panic value
	Text  string
	Panic bool
	Stack string // of the panic, or "" for a returned error
	Err   error  // what could be rebuilt, else nil
}

// Error implements error.
func (e *RemoteError) Error() string {
	if e.Panic {
		return "panic: " + e.Text
	}
	return e.Text
}

// Unwrap gives Err.
func (e *RemoteError) Unwrap() error { return e.Err }

// RegisterError lets errors.Is find a sentinel that comes back from another process. Like Register it is for
// the initialisation of packages, with a name (of at most 256 bytes) that is unique in the program; it panics
// otherwise.
//
//	var _ = process.RegisterError("bank: overdrawn", ErrOverdrawn)
func RegisterError(name string, target error) struct{} {
	registry.Lock()
	defer registry.Unlock()
	_, known := known[name]
	switch {
	case name == "" || len(name) > maxName || target == nil:
		panic(fmt.Errorf("process: RegisterError(%q): a name of at most %d bytes and an error are needed", name, maxName))
	case registry.sealed:
		panic(fmt.Errorf("process: RegisterError(%q) after Init or Main", name))
	case known || registry.sentinels[name] != nil:
		panic(fmt.Errorf("process: RegisterError(%q): the name is taken", name))
	case registry.sentinels == nil:
		registry.sentinels = make(map[string]error)
	}
	registry.sentinels[name] = target
	return struct{}{}
}

// known are the sentinels that need no registration.
var known = map[string]error{
	"context.Canceled":         context.Canceled,
	"context.DeadlineExceeded": context.DeadlineExceeded,
	"errors.ErrUnsupported":    errors.ErrUnsupported,
	"fs.ErrClosed":             fs.ErrClosed, // os.ErrClosed too
	"fs.ErrExist":              fs.ErrExist,
	"fs.ErrInvalid":            fs.ErrInvalid,
	"fs.ErrNotExist":           fs.ErrNotExist,
	"fs.ErrPermission":         fs.ErrPermission,
	"io.EOF":                   io.EOF,
	"io.ErrClosedPipe":         io.ErrClosedPipe,
	"io.ErrShortWrite":         io.ErrShortWrite,
	"io.ErrUnexpectedEOF":      io.ErrUnexpectedEOF,
	"locks.ErrBroken":          locks.ErrBroken,
	"locks.ErrNotLocked":       locks.ErrNotLocked,
	"locks.ErrNotOwner":        locks.ErrNotOwner,
	"locks.ErrOverReleased":    locks.ErrOverReleased,
	"locks.ErrOwnerDied":       locks.ErrOwnerDied,
	"os.ErrDeadlineExceeded":   os.ErrDeadlineExceeded,
	"os.ErrProcessDone":        os.ErrProcessDone,
	"process.ErrInit":          ErrInit,
	"ring.ErrBusy":             ring.ErrBusy,
	"ring.ErrCorrupt":          ring.ErrCorrupt,
	"ring.ErrKind":             ring.ErrKind,
	"ring.ErrTooLong":          ring.ErrTooLong,
	"shm.ErrCorrupt":           shm.ErrCorrupt,
	"shm.ErrForked":            shm.ErrForked,
	"shm.ErrKind":              shm.ErrKind,
	"shm.ErrNoSpace":           shm.ErrNoSpace,
	"shm.ErrSize":              shm.ErrSize,
	"shm.ErrStale":             shm.ErrStale,
	"shm.ErrType":              shm.ErrType,
	"shm.ErrUnreachable":       shm.ErrUnreachable,
	"shm.ErrVersion":           shm.ErrVersion,
}

// maxText bounds each text of an error that crosses, so that the whole fits into the socket's buffer: a child
// does not wait for a parent that is stopped before it can end.
const (
	maxText  = 64 << 10
	maxName  = 256                   // of a sentinel
	maxCause = 64                    // names that cross, and error numbers
	maxError = 3*maxText + maxText/2 // the message; the parent reads no more
)

// encodeError makes the message for an error or a panic value.
func encodeError(value any, panicked bool, stack string) []byte {
	b := []byte{0}
	if panicked {
		b[0] = 1
	}
	for _, s := range []string{fmt.Sprintf("%T", value), text(value), stack} {
		b = appendString(b, cut(s))
	}
	err, _ := value.(error)
	names, numbers := causes(err)
	b = binary.AppendUvarint(b, uint64(len(names)))
	for _, name := range names {
		b = appendString(b, name)
	}
	b = binary.AppendUvarint(b, uint64(len(numbers)))
	for _, number := range numbers {
		b = binary.AppendUvarint(b, uint64(number))
	}
	return b
}

// text is what value says of itself. Like Go's own report of a panic it does not look into values that say
// nothing: they may contain themselves.
func text(value any) (s string) {
	defer func() {
		if recover() != nil {
			s = fmt.Sprintf("(%T, which does not say what)", value)
		}
	}()
	switch v := value.(type) {
	case error:
		return v.Error()
	case fmt.Stringer:
		return v.String()
	}
	switch k := reflect.ValueOf(value).Kind(); {
	case reflect.Bool <= k && k <= reflect.Complex128, k == reflect.String:
		return fmt.Sprint(value)
	case k == reflect.Invalid:
		return "nil"
	}
	return fmt.Sprintf("(%T)", value)
}

// cut shortens s to maxText and says so.
func cut(s string) string {
	if len(s) <= maxText {
		return s
	}
	const keep = maxText - 64
	return fmt.Sprintf("%s… (%d bytes more)", s[:keep], len(s)-keep)
}

// causes finds the sentinels and error numbers in err's tree.
func causes(err error) (names []string, numbers []syscall.Errno) {
	if err == nil {
		return nil, nil
	}
	defer func() { recover() }() // from err's own methods; what was found so far crosses
	registry.Lock()
	sentinels := maps.Clone(registry.sentinels) // err's methods are the user's: not under the lock
	registry.Unlock()
	for _, from := range []map[string]error{known, sentinels} {
		for _, name := range slices.Sorted(maps.Keys(from)) {
			if len(names) < maxCause && errors.Is(err, from[name]) {
				names = append(names, name)
			}
		}
	}
	var walk func(error)
	walk = func(err error) {
		if number, ok := err.(syscall.Errno); ok && len(numbers) < maxCause && !slices.Contains(numbers, number) {
			numbers = append(numbers, number)
		}
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			if next := e.Unwrap(); next != nil {
				walk(next)
			}
		case interface{ Unwrap() []error }:
			for _, next := range e.Unwrap() {
				if next != nil {
					walk(next)
				}
			}
		}
	}
	walk(err)
	return names, numbers
}

// decodeError is the way back; causes that are not known here are left out.
func decodeError(b []byte) (*RemoteError, error) {
	if len(b) == 0 || b[0] > 1 {
		return nil, errProtocol
	}
	r := reader{b: b[1:]}
	e := &RemoteError{Panic: b[0] == 1, Type: r.string(), Text: r.string(), Stack: r.string()}
	var found []error
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		name := r.string()
		if target := sentinel(name); target != nil {
			found = append(found, target)
		}
	}
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		if number := syscall.Errno(r.uvarint()); number != 0 {
			found = append(found, number)
		}
	}
	if r.bad || len(r.b) > 0 {
		return nil, errProtocol
	}
	switch len(found) {
	case 0:
	case 1:
		e.Err = found[0]
	default:
		e.Err = errors.Join(found...)
	}
	return e, nil
}

// sentinel finds one by its name.
func sentinel(name string) error {
	if target := known[name]; target != nil {
		return target
	}
	registry.Lock()
	defer registry.Unlock()
	return registry.sentinels[name]
}
