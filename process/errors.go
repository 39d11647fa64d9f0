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
	"time"

	"github.com/shoal-ipc/shoal/internal/codec"
	"github.com/shoal-ipc/shoal/internal/sentinel"
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
	// Err is a *RemoteError if the function returned an error or panicked. If the process was killed because the grace was over
	// (Options.Grace), it says so, and errors.Is finds context.Canceled or context.DeadlineExceeded, and the cause, in it.
	Err error
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
// to the standard library's sentinels and syscall.Errno, to those of this module's packages, and to
// what RegisterError and RegisterErrorType named. Type, Text and Stack longer than 64 KiB are cut.
//
// Go's own errors do not cross by other ways (in an item of a queue, say); a *RemoteError, which AsRemote
// makes, does.
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
	case known || registry.sentinels[name] != nil || registry.errorTypes[name] != nil:
		panic(fmt.Errorf("process: RegisterError(%q): the name is taken", name))
	case registry.sentinels == nil:
		registry.sentinels = make(map[string]error)
	}
	registry.sentinels[name] = target
	return struct{}{}
}

// RegisterErrorType lets errors.As find an E that comes back from another process, as it was: it is encoded as
// an argument is, so its fields must be exported (RegisterErrorType panics otherwise, as Register does), and
// what it holds of other errors does not cross as part of it. E is the type that errors.As is to find: often a
// pointer. An E that is larger than 32 KiB, or cannot be encoded, is left out. Like Register it is for the
// initialisation of packages, with a name that is unique among those of RegisterErrorType and RegisterError.
//
//	var _ = process.RegisterErrorType[*OverdrawnError]("bank: overdrawn error")
func RegisterErrorType[E error](name string) struct{} {
	t := reflect.TypeFor[E]()
	e := &errorType{name: name, t: t}
	payload := t
	if t.Kind() == reflect.Pointer {
		payload = t.Elem()
		e.decode = func(data []byte) (error, error) {
			v := reflect.New(payload)
			err := codec.Unmarshal(data, v.Interface())
			return v.Interface().(error), err
		}
	} else {
		e.decode = func(data []byte) (error, error) {
			var v E
			err := codec.Unmarshal(data, &v)
			return v, err
		}
	}
	if t.Kind() == reflect.Interface {
		panic(fmt.Errorf("process: RegisterErrorType(%q): %v is an interface, and no type of errors", name, t))
	}
	if err := codec.Check(payload); err != nil {
		panic(fmt.Errorf("process: RegisterErrorType(%q): %w", name, err))
	}
	registry.Lock()
	defer registry.Unlock()
	_, known := known[name]
	switch {
	case name == "" || len(name) > maxName:
		panic(fmt.Errorf("process: RegisterErrorType(%q): a name of at most %d bytes is needed", name, maxName))
	case registry.sealed:
		panic(fmt.Errorf("process: RegisterErrorType(%q) after Init or Main", name))
	case known || registry.sentinels[name] != nil || registry.errorTypes[name] != nil:
		panic(fmt.Errorf("process: RegisterErrorType(%q): the name is taken", name))
	case registry.errorTypes == nil:
		registry.errorTypes = make(map[string]*errorType)
	}
	registry.errorTypes[name] = e
	return struct{}{}
}

// errorType is one that RegisterErrorType named.
type errorType struct {
	name   string
	t      reflect.Type
	decode func([]byte) (error, error)
}

// tryDecode is decode, whose panic (the method of a type is the user's) is an error.
func (e *errorType) tryDecode(data []byte) (v error, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("process: decoding an error of type %s panicked: %v", e.name, p)
		}
	}()
	return e.decode(data)
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
	maxName  = 256                              // of a sentinel or a type
	maxCause = 64                               // names that cross, error numbers, and values
	maxValue = 32 << 10                         // of all values
	maxError = 3*maxText + maxText/2 + maxValue // the message; the parent reads no more
)

// AsRemote is err as another process gets it, for who sends errors himself. It is nil if err is nil, and err if
// that is a *RemoteError already.
func AsRemote(err error) *RemoteError {
	if err == nil {
		return nil
	}
	if e, ok := err.(*RemoteError); ok {
		return e
	}
	return remote(err, false, "")
}

// AsRemotePanic is the same for the value that recover returned, with the stack of debug.Stack.
func AsRemotePanic(value any, stack []byte) *RemoteError { return remote(value, true, string(stack)) }

func remote(value any, panicked bool, stack string) *RemoteError {
	e := &RemoteError{Type: cut(fmt.Sprintf("%T", value)), Text: cut(text(value)), Panic: panicked, Stack: cut(stack)}
	e.Err, _ = value.(error)
	return e
}

// encodeError makes the message for an error or a panic value.
func encodeError(value any, panicked bool, stack string) []byte {
	return remote(value, panicked, stack).encode()
}

// MarshalBinary implements encoding.BinaryMarshaler. It never fails: what of Err cannot cross is left out.
func (e *RemoteError) MarshalBinary() ([]byte, error) { return e.encode(), nil }

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (e *RemoteError) UnmarshalBinary(data []byte) error {
	d, err := decodeError(data)
	if err != nil {
		return fmt.Errorf("%w: %w", shm.ErrCorrupt, err)
	}
	*e = *d
	return nil
}

func (e *RemoteError) encode() []byte {
	b := []byte{0}
	if e.Panic {
		b[0] = 1
	}
	for _, s := range []string{e.Type, e.Text, e.Stack} {
		b = appendString(b, cut(s))
	}
	names, numbers, values := causes(e.Err)
	b = binary.AppendUvarint(b, uint64(len(names)))
	for _, name := range names {
		b = appendString(b, name)
	}
	b = binary.AppendUvarint(b, uint64(len(numbers)))
	for _, number := range numbers {
		b = binary.AppendUvarint(b, uint64(number))
	}
	b = binary.AppendUvarint(b, uint64(len(values)))
	for _, v := range values {
		b = appendString(b, v.name)
		b = appendString(b, v.data)
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

// value is an error of a registered type, encoded.
type value struct{ name, data string }

// causes finds the sentinels, the error numbers and the values of registered types in err's tree.
func causes(err error) (names []string, numbers []syscall.Errno, values []value) {
	if err == nil {
		return nil, nil, nil
	}
	defer func() { recover() }() // from err's own methods; what was found so far crosses
	registry.Lock()
	sentinels := maps.Clone(registry.sentinels) // err's methods are the user's: not under the lock
	types := slices.Collect(maps.Values(registry.errorTypes))
	registry.Unlock()
	for _, from := range []map[string]error{known, sentinel.All(), sentinels} {
		for _, name := range slices.Sorted(maps.Keys(from)) {
			if len(names) < maxCause && errors.Is(err, from[name]) {
				names = append(names, name)
			}
		}
	}
	room := maxValue
	var walk func(error)
	walk = func(err error) {
		if number, ok := err.(syscall.Errno); ok && len(numbers) < maxCause && !slices.Contains(numbers, number) {
			numbers = append(numbers, number)
		}
		i := slices.IndexFunc(types, func(e *errorType) bool { return e.t == reflect.TypeOf(err) })
		if i >= 0 && len(values) < maxCause {
			v := value{name: types[i].name}
			if data, e := marshalError(err); e == nil && len(v.name)+len(data)+2*binary.MaxVarintLen32 <= room {
				v.data = string(data)
				room -= len(v.name) + len(data) + 2*binary.MaxVarintLen32
				values = append(values, v)
			}
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
	return names, numbers, values
}

// marshalError encodes a value of a registered type.
func marshalError(err error) ([]byte, error) {
	if v := reflect.ValueOf(err); v.Kind() == reflect.Pointer && v.IsNil() {
		return nil, errors.New("process: a nil pointer")
	}
	return codec.Marshal(err)
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
		if target := named(name); target != nil {
			found = append(found, target)
		}
	}
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		if number := syscall.Errno(r.uvarint()); number != 0 {
			found = append(found, number)
		}
	}
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		name, data := r.string(), r.string()
		registry.Lock()
		known := registry.errorTypes[name]
		registry.Unlock()
		if known == nil {
			continue
		}
		if v, err := known.tryDecode([]byte(data)); err == nil {
			found = append(found, v)
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

// named finds a sentinel by its name.
func named(name string) error {
	if target := known[name]; target != nil {
		return target
	}
	if target := sentinel.Find(name); target != nil {
		return target
	}
	registry.Lock()
	defer registry.Unlock()
	return registry.sentinels[name]
}

// overdueError says that a child was killed, as it had not ended so long after its context. The text of the cause is asked for by who
// reads it: it is a user's, and may wait.
type overdueError struct {
	grace      time.Duration
	err, cause error
}

func (e *overdueError) Error() string {
	text := e.err.Error()
	if e.cause != e.err {
		text += ": " + e.cause.Error()
	}
	return fmt.Sprintf("it had not ended %v after its context: %s", e.grace, text)
}

func (e *overdueError) Unwrap() []error { return []error{e.err, e.cause} }
