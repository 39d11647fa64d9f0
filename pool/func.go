package pool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
)

// Func is a function that a pool can run. The zero Func cannot be run.
type Func[A, R any] struct{ f *typed[A, R] }

// function is a task without its type parameters.
type function struct {
	name   string
	number uint32
	run    func(ctx context.Context, w *worker, s *slot) // in the worker
	each   atomic.Int64                                  // how long one takes about, in nanoseconds; 0 while nobody knows
}

// typed is a function with its type parameters.
type typed[A, R any] struct {
	function
	call   func(context.Context, A) (R, error)
	args   coder[A]
	result coder[R]
}

// registry holds what parent and worker must have in common. It is filled while packages are initialised, in
// the same order in both, since they are the same program.
var registry struct {
	sync.Mutex
	functions []*function
}

var (
	errCorrupt      = fmt.Errorf("pool: %w", shm.ErrCorrupt)
	errChanging     = errors.New("pool: a value encodes itself to another length each time")
	errUnregistered = errors.New("pool: the function was not made by Register")
)

// Register makes f a task under a name that is unique in the program. Call it while packages are initialised,
// in a variable or in func init; later calls panic, and so do an A and an R that would not cross whole:
// process.Register says which. f may be called several times at once only in different processes.
func Register[A, R any](name string, f func(ctx context.Context, a A) (R, error)) Func[A, R] {
	if name == "" || f == nil {
		panic(fmt.Errorf("pool: Register(%q): a name and a function are needed", name))
	}
	t := &typed[A, R]{call: f}
	var err error
	if t.args, err = coderOf[A](); err != nil {
		panic(fmt.Errorf("pool: Register(%q): %w", name, err))
	}
	if t.result, err = coderOf[R](); err != nil {
		panic(fmt.Errorf("pool: Register(%q): its result: %w", name, err))
	}
	t.name, t.run = name, t.work
	enroll(name)
	registry.Lock()
	defer registry.Unlock()
	t.number = uint32(len(registry.functions))
	registry.functions = append(registry.functions, &t.function)
	return Func[A, R]{t}
}

// enroll makes the name one of those that parent and child compare (the build id), and has it refused when it
// is too late, or taken.
func enroll(name string) {
	defer func() {
		if v := recover(); v != nil {
			panic(fmt.Errorf("pool: %w", v.(error)))
		}
	}()
	process.Register("pool task "+name, func(context.Context, process.None) error { return errors.ErrUnsupported })
}

// lookup finds a function by its number.
func lookup(number uint32) *function {
	registry.Lock()
	defer registry.Unlock()
	if number >= uint32(len(registry.functions)) {
		return nil
	}
	return registry.functions[number]
}

// work runs the function in the worker, on the argument in s, and writes its result there.
func (t *typed[A, R]) work(ctx context.Context, w *worker, s *slot) {
	data, err := w.argument(s)
	if err != nil {
		w.fail(s, process.AsRemote(err))
		return
	}
	var a A
	if err := t.args.Decode(data, &a); err != nil {
		w.fail(s, process.AsRemote(fmt.Errorf("pool: the argument of %s: %w", t.name, err)))
		return
	}
	r, err := t.call(ctx, a)
	if err != nil {
		w.fail(s, process.AsRemote(err))
		return
	}
	if err := reply(w, s, &t.result, &r); err != nil {
		w.fail(s, process.AsRemote(fmt.Errorf("pool: the result of %s: %w", t.name, err)))
	}
}

// reply writes a result into s.
func reply[R any](w *worker, s *slot, c *coder[R], r *R) error {
	var offset uint64
	n, large, err := c.encode(r, s.data[:], func(n int) (mem []byte, err error) {
		offset, mem, err = w.allocate(n)
		return mem, err
	})
	if err != nil {
		if large {
			w.seg.Deallocate(offset)
		}
		return err
	}
	s.size, s.kind = uint64(n), 0
	if !large {
		return nil
	}
	return w.pass(s, offset)
}

// image writes a task of t into s, its argument too. What does not fit into s goes into memory of seg,
// and room says whether there is some for it.
func (t *typed[A, R]) image(seg *shm.Segment, s *slot, a *A, room bool) (err error) {
	var offset uint64
	taken := false
	if t.args.foreign {
		defer func() {
			if v := recover(); v != nil {
				if taken {
					seg.Deallocate(offset)
				}
				err = fmt.Errorf("pool: encoding the argument of %s panicked: %v", t.name, v)
			}
		}()
	}
	n, large, err := t.args.encode(a, s.data[:], func(n int) (mem []byte, err error) {
		if !room {
			return nil, shm.ErrNoSpace
		}
		offset, mem, err = seg.Allocate(n)
		taken = err == nil
		return mem, err
	})
	if err != nil {
		if large {
			seg.Deallocate(offset)
		}
		return fmt.Errorf("pool: the argument of %s: %w", t.name, err)
	}
	s.fn, s.kind, s.size = t.number, 0, uint64(n)
	if large {
		s.kind = inBlock
		place(s.data[:], offset, 0)
	}
	return nil
}

// decode reads a result.
func (t *typed[A, R]) decode(o *outcome, r *R) (err error) {
	if o.err != nil {
		return o.err
	}
	if o.failed {
		return o.failure()
	}
	if t.result.foreign {
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("pool: decoding the result of %s panicked: %v", t.name, v)
			}
			if err != nil {
				var zero R
				*r = zero
			}
		}()
	}
	if err := t.result.Decode(o.data, r); err != nil {
		return fmt.Errorf("pool: the result of %s: %w", t.name, err)
	}
	return nil
}

// slowly reports whether decoding o may take so long that others should not wait for it.
func (t *typed[A, R]) slowly(o *outcome) bool {
	return o.err == nil && (o.failed || t.result.foreign || len(o.data) > 16<<10)
}
