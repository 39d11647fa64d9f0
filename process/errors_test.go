package process_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/queue"
	"github.com/shoal-ipc/shoal/shm"
)

var (
	errOverdrawn = errors.New("overdrawn")
	errUnknown   = errors.New("nobody registered me")
	_            = process.RegisterError("process_test: overdrawn", errOverdrawn)
	_            = process.RegisterErrorType[*limitError]("process_test: limit error")
	_            = process.RegisterErrorType[codeError]("process_test: code error")
	_            = process.RegisterErrorType[*oneWayError]("process_test: one-way error")
	_            = process.RegisterErrorType[noWayError]("process_test: no-way error")
)

// limitError and codeError are types that cross; otherError does not.
type limitError struct {
	Limit int
	Parts []float64
	Text  string
}

func (e *limitError) Error() string {
	if e == nil {
		return "no limit"
	}
	return fmt.Sprintf("beyond the limit of %d", e.Limit)
}
func (e *limitError) Unwrap() error { return errOverdrawn }

type codeError struct{ Code int }

func (e codeError) Error() string { return fmt.Sprintf("code %d", e.Code) }

// oneWayError cannot be decoded, noWayError not even encoded.
type oneWayError struct{}

func (*oneWayError) Error() string                  { return "one way" }
func (*oneWayError) MarshalBinary() ([]byte, error) { return []byte("x"), nil }
func (*oneWayError) UnmarshalBinary([]byte) error   { return io.ErrNoProgress }

type noWayError struct{}

func (noWayError) Error() string                  { return "no way" }
func (noWayError) MarshalBinary() ([]byte, error) { return nil, io.ErrNoProgress }
func (*noWayError) UnmarshalBinary([]byte) error  { return nil }

type otherError struct{ Code int }

func (e otherError) Error() string { return fmt.Sprintf("other code %d", e.Code) }

// returned are errors that cross, by name.
var returned = map[string]error{
	"plain":      errors.New("plain"),
	"empty":      errors.New(""),
	"canceled":   context.Canceled,
	"deadline":   fmt.Errorf("late: %w", context.DeadlineExceeded),
	"eof":        io.EOF,
	"unexpected": io.ErrUnexpectedEOF,
	"closed":     os.ErrClosed,
	"exist":      fs.ErrExist,
	"not-exist":  &fs.PathError{Op: "open", Path: "/nowhere", Err: syscall.ENOENT},
	"permission": fs.ErrPermission,
	"invalid":    fs.ErrInvalid,
	"errno":      os.NewSyscallError("ioctl", syscall.ENOTTY),
	"registered": fmt.Errorf("account 3: %w", errOverdrawn),
	"unknown":    errUnknown,
	"shm":        fmt.Errorf("queue: %w", shm.ErrNoSpace),
	"locks":      fmt.Errorf("account 3: %w", locks.ErrOwnerDied),
	"queue":      fmt.Errorf("account 3: %w", queue.ErrShutdown),
	"joined":     errors.Join(io.EOF, errOverdrawn, syscall.EAGAIN, errors.New("and more"), syscall.EPERM),
	"typed":      fmt.Errorf("account 3: %w", &limitError{7, []float64{1, 2}, "seven"}),
	"values":     errors.Join(codeError{1}, otherError{2}, &limitError{Limit: 3}, codeError{4}, (*limitError)(nil)),
	"one way":    errors.Join(&oneWayError{}, noWayError{}, codeError{6}, io.EOF),
	"too large":  errors.Join(&limitError{Text: strings.Repeat("x", 64<<10)}, codeError{5}),
	"long":       errors.New(strings.Repeat("long ", process.MaxText)),
}

// remote are the causes that each of returned has after it has crossed.
var remote = map[string][]error{
	"canceled":   {context.Canceled},
	"deadline":   {context.DeadlineExceeded},
	"eof":        {io.EOF},
	"unexpected": {io.ErrUnexpectedEOF},
	"closed":     {os.ErrClosed},
	"exist":      {fs.ErrExist},
	"not-exist":  {fs.ErrNotExist, syscall.ENOENT},
	"permission": {fs.ErrPermission},
	"invalid":    {fs.ErrInvalid},
	"errno":      {syscall.ENOTTY},
	"registered": {errOverdrawn},
	"shm":        {shm.ErrNoSpace},
	"locks":      {locks.ErrOwnerDied},
	"queue":      {queue.ErrShutdown},
	"typed":      {errOverdrawn},
	"values":     {errOverdrawn},
	"one way":    {io.EOF},
	"too large":  {errOverdrawn},
	"joined":     {io.EOF, errOverdrawn, syscall.EAGAIN, syscall.EPERM, fs.ErrPermission},
}

// checkCauses wants err to have the causes of the error called name, and no others of those that occur here.
func checkCauses(t *testing.T, name string, err error) {
	t.Helper()
	for _, targets := range remote {
		for _, target := range targets {
			if got, want := errors.Is(err, target), errors.Is(returned[name], target); got != want {
				t.Errorf("%s: errors.Is(%v) is %t, want %t", name, target, got, want)
			}
		}
	}
	for _, target := range remote[name] {
		if !errors.Is(err, target) {
			t.Errorf("%s: errors.Is does not find %v", name, target)
		}
	}
	if errors.Is(err, errUnknown) {
		t.Errorf("%s: errors.Is finds what was not registered", name)
	}
	var a, b syscall.Errno
	if errors.As(err, &a) != errors.As(returned[name], &b) || a != b {
		t.Errorf("%s: errors.As finds %v, want %v", name, a, b)
	}
}

// checkTypes wants err to have the errors of registered types that the error called name has, as they were.
func checkTypes(t *testing.T, name string, err error) {
	t.Helper()
	var limit *limitError
	var code codeError
	var other otherError
	if errors.As(err, &other) {
		t.Errorf("%s: errors.As finds a type that was not registered", name)
	}
	wantLimit := map[string]*limitError{"typed": {7, []float64{1, 2}, "seven"}, "values": {Limit: 3}}[name]
	if found := errors.As(err, &limit); found != (wantLimit != nil) || found && !reflect.DeepEqual(limit, wantLimit) {
		t.Errorf("%s: errors.As finds %+v, want %+v", name, limit, wantLimit)
	}
	wantCode := map[string]int{"values": 1, "too large": 5, "one way": 6}[name]
	if found := errors.As(err, &code); found != (wantCode != 0) || code.Code != wantCode {
		t.Errorf("%s: errors.As finds %+v, want %d", name, code, wantCode)
	}
	if name == "values" && !errors.Is(err, codeError{4}) {
		t.Error("the second of a type is lost")
	}
}

// TestRemoteErrorCrosses: who sends an error himself makes a RemoteError of it, which goes through the encoding
// as often as need be.
func TestRemoteErrorCrosses(t *testing.T) {
	if process.AsRemote(nil) != nil {
		t.Error("nil became an error")
	}
	for name, err := range returned {
		e := process.AsRemote(err)
		if process.AsRemote(e) != e {
			t.Error("it became another")
		}
		for range 3 {
			data, err := e.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			e = new(process.RemoteError)
			if err := e.UnmarshalBinary(data); err != nil {
				t.Fatal(err)
			}
		}
		checkCauses(t, name, e)
		checkTypes(t, name, e)
		if e.Panic || e.Stack != "" || e.Type != fmt.Sprintf("%T", err) {
			t.Errorf("%s: %+v", name, e)
		}
	}
	e := process.AsRemotePanic(io.EOF, []byte("the stack"))
	if !e.Panic || e.Stack != "the stack" || e.Type != "*errors.errorString" || e.Error() != "panic: EOF" || !errors.Is(e, io.EOF) {
		t.Errorf("a panic: %+v", e)
	}
	if err := e.UnmarshalBinary([]byte("nonsense")); !errors.Is(err, shm.ErrCorrupt) {
		t.Errorf("nonsense: %v", err)
	}
}

type hiddenError struct{ code int }

var _ = hiddenError{}.code

func (e hiddenError) Error() string { return "" }

func TestRegisterErrorTypeMisuse(t *testing.T) {
	for name, f := range map[string]func(){
		"after Init":       func() { process.RegisterErrorType[otherError]("process_test: other") },
		"no name":          func() { process.RegisterErrorType[otherError]("") },
		"an interface":     func() { process.RegisterErrorType[error]("process_test: any") },
		"unexported field": func() { process.RegisterErrorType[hiddenError]("process_test: hidden") },
	} {
		if attempt(f) == nil {
			t.Errorf("%s: no panic", name)
		}
	}
}

func TestErrorCoding(t *testing.T) {
	for name, err := range returned {
		for _, panicked := range []bool{false, true} {
			message := process.EncodeError(err, panicked, "the stack")
			if len(message) > process.MaxError {
				t.Errorf("%s: %d bytes", name, len(message))
			}
			got, e := process.DecodeError(message)
			if e != nil {
				t.Errorf("%s: %v", name, e)
				continue
			}
			checkCauses(t, name, got)
			checkTypes(t, name, got)
			if got.Type != fmt.Sprintf("%T", err) || got.Stack != "the stack" || got.Panic != panicked {
				t.Errorf("%s: %+v", name, got)
			}
			if want := err.Error(); got.Text != want && (len(want) <= process.MaxText ||
				!strings.HasPrefix(want, got.Text[:process.MaxText/2]) || !strings.HasSuffix(got.Text, "bytes more)") || len(got.Text) > process.MaxText) {
				t.Errorf("%s: text %.100q, want %.100q", name, got.Text, want)
			}
			if text := got.Error(); !strings.HasSuffix(text, got.Text) || strings.HasPrefix(text, "panic: ") != panicked {
				t.Errorf("%s: Error is %.100q", name, text)
			}
		}
	}
	e, err := process.DecodeError(process.EncodeError(42, true, ""))
	if err != nil || e.Type != "int" || e.Text != "42" || e.Err != nil {
		t.Errorf("a panic with 42: %+v, %v", e, err)
	}
}

func TestErrorCodingCutOff(t *testing.T) {
	message := process.EncodeError(returned["joined"], true, "stack")
	for n := range message {
		if e, err := process.DecodeError(message[:n]); !errors.Is(err, process.ErrProtocol) {
			t.Fatalf("the first %d of %d bytes are %v, %v, want ErrProtocol", n, len(message), e, err)
		}
	}
	if _, err := process.DecodeError(append(message, 0)); !errors.Is(err, process.ErrProtocol) {
		t.Errorf("one byte more: %v, want ErrProtocol", err)
	}
}

func TestExitErrorText(t *testing.T) {
	for _, c := range []struct {
		e    process.ExitError
		want string
	}{
		{process.ExitError{Name: "count-1", Pid: 12, Code: 3}, "process count-1 (pid 12): exit code 3"},
		{process.ExitError{Name: "count-1", Pid: 12, Code: -9, Signal: syscall.SIGKILL},
			"process count-1 (pid 12): ended by signal 9 (killed)"},
		{process.ExitError{Name: "a", Pid: 1, Code: 1, Err: &process.RemoteError{Text: "no"}},
			"process a (pid 1): exit code 1: no"},
		{process.ExitError{Name: "a", Pid: 1, Code: 2, Err: &process.RemoteError{Text: "no", Panic: true}},
			"process a (pid 1): exit code 2: panic: no"},
	} {
		if got := c.e.Error(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
