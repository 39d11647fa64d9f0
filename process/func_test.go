package process_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
)

type hidden struct {
	Open   int
	secret int
}

var _ = hidden{}.secret

type hiding struct{ Inner []hidden }

func nop[A any](context.Context, A) error { return nil }

// registrations are attempts made while packages are initialised, with what each panicked with.
var registrations = map[string]any{
	"channel":       attempt(func() { process.Register("bad-channel", nop[chan int]) }),
	"function":      attempt(func() { process.Register("bad-function", nop[func()]) }),
	"unexported":    attempt(func() { process.Register("bad-unexported", nop[hiding]) }),
	"no name":       attempt(func() { process.Register("", nop[int]) }),
	"nil":           attempt(func() { process.Register[int]("bad-nil", nil) }),
	"first":         attempt(func() { process.Register("taken", nop[int]) }),
	"second":        attempt(func() { process.Register("taken", nop[int]) }),
	"error nil":     attempt(func() { process.RegisterError("bad-nil", nil) }),
	"error no name": attempt(func() { process.RegisterError("", errUnknown) }),
	"error long":    attempt(func() { process.RegisterError(strings.Repeat("x", 257), errUnknown) }),
	"error first":   attempt(func() { process.RegisterError("taken", errors.New("taken")) }),
	"error second":  attempt(func() { process.RegisterError("taken", errors.New("taken")) }),
	"error known":   attempt(func() { process.RegisterError("io.EOF", errUnknown) }),
}

func attempt(f func()) (panicked any) {
	defer func() { panicked = recover() }()
	f()
	return nil
}

func TestRegister(t *testing.T) {
	late := map[string]any{
		"late":       attempt(func() { process.Register("late", nop[int]) }),
		"error late": attempt(func() { process.RegisterError("late", errUnknown) }),
	}
	for _, c := range []struct {
		name  string
		kind  error  // errors.Is of the panic
		words string // in it; "" means that there must be no panic
	}{
		{"channel", shm.ErrType, "bad-channel"},
		{"function", shm.ErrType, "bad-function"},
		{"unexported", shm.ErrType, "secret"},
		{"no name", nil, "needs a name"},
		{"nil", nil, "nil"},
		{"first", nil, ""},
		{"second", nil, "taken"},
		{"late", nil, "after Init"},
		{"error nil", nil, "are needed"},
		{"error no name", nil, "are needed"},
		{"error long", nil, "at most 256 bytes"},
		{"error first", nil, ""},
		{"error second", nil, "taken"},
		{"error known", nil, "taken"},
		{"error late", nil, "after Init"},
	} {
		got, ok := registrations[c.name]
		if !ok {
			got = late[c.name]
		}
		if c.words == "" {
			if got != nil {
				t.Errorf("%s: panic %v", c.name, got)
			}
			continue
		}
		err, _ := got.(error)
		if err == nil || !strings.Contains(err.Error(), c.words) || c.kind != nil && !errors.Is(err, c.kind) {
			t.Errorf("%s: panic %v, want %q in it, and %v", c.name, got, c.words, c.kind)
		}
	}
}

func TestCall(t *testing.T) {
	type key struct{}
	var got []any
	f := process.Func[string]{}
	if err := f.Call(t.Context(), "x"); err == nil {
		t.Error("the zero Func could be called")
	}
	if p, err := process.Start(t.Context(), f, "x"); err == nil || p != nil {
		t.Errorf("the zero Func could be started: %v, %v", p, err)
	}
	calls = func(ctx context.Context, s string) error {
		got = append(got, ctx.Value(key{}), s)
		return errOverdrawn
	}
	ctx := context.WithValue(t.Context(), key{}, "value")
	if err := callsBack.Call(ctx, "text"); err != errOverdrawn || fmt.Sprint(got) != "[value text]" {
		t.Errorf("Call: %v, got %v", err, got)
	}
}

var (
	calls     func(context.Context, string) error
	callsBack = process.Register("calls-back", func(ctx context.Context, s string) error { return calls(ctx, s) })
)
