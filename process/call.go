package process

import (
	"context"
	"errors"
	"fmt"

	"github.com/shoal-ipc/shoal/internal/codec"
	"github.com/shoal-ipc/shoal/shm"
)

// Call is a registered function with its argument, for options that want a call to make later (that of a pool
// to initialise its workers, say). Run makes it, in this process. A Call may be a field of an argument of
// another function, and is made there then. The zero Call does nothing.
type Call struct {
	function *function
	argument any                         // a pointer to an A; nil if data came from another process
	data     []byte                      // an A, encoded
	run      func(context.Context) error // f(a) in the process that bound it
}

// With binds an argument. What it points to is looked at when the Call is made, or given away.
func (f Func[A]) With(a A) Call {
	if f.function == nil {
		return Call{run: func(context.Context) error { return errUnregistered }}
	}
	return Call{function: f.function, argument: &a, run: func(ctx context.Context) error { return f.call(ctx, a) }}
}

// IsZero reports whether c is the zero Call.
func (c Call) IsZero() bool { return c.function == nil && c.run == nil }

// Name is that of the function, "" for the zero Call.
func (c Call) Name() string {
	if c.function == nil {
		return ""
	}
	return c.function.name
}

// Run calls the function here.
func (c Call) Run(ctx context.Context) error {
	switch {
	case c.run != nil:
		return c.run(ctx)
	case c.function != nil:
		return c.function.run(ctx, c.data)
	}
	return nil
}

// Objects are the shared objects in the argument. An argument of Start that has a method Objects, as a Call
// has, hands over the segments of these too; what holds Calls passes theirs on.
func (c Call) Objects() ([]shm.Object, error) {
	if c.argument == nil {
		return nil, nil
	}
	return codec.Objects(c.argument)
}

// MarshalBinary implements encoding.BinaryMarshaler.
func (c Call) MarshalBinary() ([]byte, error) {
	switch {
	case c.IsZero():
		return []byte{}, nil
	case c.function == nil:
		return nil, errUnregistered
	}
	data := c.data
	if c.argument != nil {
		var err error
		if data, err = codec.Marshal(c.argument); err != nil {
			return nil, err
		}
	}
	return append(appendString(nil, c.function.name), data...), nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler. It is an error if this program has no function of that
// name; the argument is decoded by Run.
func (c *Call) UnmarshalBinary(data []byte) error {
	*c = Call{}
	if len(data) == 0 {
		return nil
	}
	r := reader{b: data}
	name := r.string()
	if r.bad {
		return fmt.Errorf("process: a Call: %w", shm.ErrCorrupt)
	}
	f := lookup(name)
	if f == nil {
		return unknownFunction(name)
	}
	*c = Call{function: f, data: append([]byte{}, r.b...)}
	return nil
}

// sharer is an argument that names the shared objects in it that its encoding hides.
type sharer interface{ Objects() ([]shm.Object, error) }

// objects are the shared objects in what argument points to.
func objects(argument any) ([]shm.Object, error) {
	found, err := codec.Objects(argument)
	if s, ok := argument.(sharer); ok && err == nil {
		var more []shm.Object
		more, err = s.Objects()
		found = append(found, more...)
	}
	return found, err
}

func unknownFunction(name string) error {
	return fmt.Errorf("process: no function is called %q", name[:min(len(name), maxName)])
}

// errUnregistered is what the zero Func gets.
var errUnregistered = errors.New("process: the function was not made by Register")
