package process

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/shoal-ipc/shoal/internal/codec"
	"github.com/shoal-ipc/shoal/internal/sys"
)

// ErrInit is returned by Start when the program has not called Init or Main.
var ErrInit = errors.New("process: neither process.Init nor process.Main was called")

// None is the argument of a function that needs none.
type None = struct{}

// Func is a function that can be started as a process. The zero Func cannot.
type Func[A any] struct {
	function *function
	call     func(context.Context, A) error
}

// function is what a child needs to know of a Func, without its type parameter.
type function struct {
	name     string
	argument string                              // the type A
	run      func(context.Context, []byte) error // decodes an A and calls
	started  atomic.Int64                        // numbers default names
}

// registry holds what parent and child must have in common. It is filled while packages are initialised, and
// read only from Init on.
var registry struct {
	sync.Mutex
	sealed     bool
	functions  map[string]*function
	sentinels  map[string]error
	errorTypes map[string]*errorType
	build      string // of buildID, once it is known
}

// Register makes f startable under a name that is unique in the program. Call it while packages are
// initialised, in a variable or (for a function that starts itself) in func init; later calls panic, and so
// does an A that would not cross whole: a field that is unexported, a channel, a function, an interface
// without methods to encode it, or an embedded shared object. That panic is an error that errors.Is knows as
// shm.ErrType, with the path of the field.
func Register[A any](name string, f func(ctx context.Context, a A) error) Func[A] {
	argument := reflect.TypeFor[A]()
	switch {
	case name == "":
		panic(errors.New("process: Register: a function needs a name"))
	case f == nil:
		panic(fmt.Errorf("process: Register(%q): the function is nil", name))
	}
	if err := codec.Check(argument); err != nil {
		panic(fmt.Errorf("process: Register(%q): %w", name, err))
	}
	fn := &function{name: name, argument: argument.String()}
	fn.run = func(ctx context.Context, data []byte) error {
		var a A
		if err := codec.Unmarshal(data, &a); err != nil {
			return fmt.Errorf("process: the argument of %s: %w", name, err)
		}
		return f(ctx, a)
	}
	registry.Lock()
	defer registry.Unlock()
	switch {
	case registry.sealed:
		panic(fmt.Errorf("process: Register(%q) after Init or Main: a child registers what package initialisation does", name))
	case registry.functions[name] != nil:
		panic(fmt.Errorf("process: Register(%q): the name is taken", name))
	case registry.functions == nil:
		registry.functions = make(map[string]*function)
	}
	registry.functions[name] = fn
	return Func[A]{function: fn, call: f}
}

// Call runs f here, in this process and goroutine, as Python's run() does.
func (f Func[A]) Call(ctx context.Context, a A) error {
	if f.call == nil {
		return errUnregistered
	}
	return f.call(ctx, a)
}

// lookup finds a registered function.
func lookup(name string) *function {
	registry.Lock()
	defer registry.Unlock()
	return registry.functions[name]
}

// seal ends registration.
func seal() {
	registry.Lock()
	defer registry.Unlock()
	registry.sealed = true
}

// buildID differs between programs whose registered functions or Go versions differ, and, behind a hyphen,
// between files; without /proc a program does not know its file, and says nothing there. /proc/self/exe makes
// parent and child the same, so this guards against a marker that came from elsewhere. It is called after
// registration has ended.
func buildID() string {
	registry.Lock()
	defer registry.Unlock()
	if registry.build != "" {
		return registry.build
	}
	names := []string{strconv.Itoa(markerVersion), runtime.Version(), runtime.GOOS, runtime.GOARCH}
	for _, name := range slices.Sorted(maps.Keys(registry.functions)) {
		names = append(names, name, registry.functions[name].argument)
	}
	names = append(names, slices.Sorted(maps.Keys(registry.sentinels))...)
	for _, name := range slices.Sorted(maps.Keys(registry.errorTypes)) {
		names = append(names, name, registry.errorTypes[name].t.String())
	}
	registry.build = hashOf(names...) + "-"
	if file := sys.FileID(executable()); file != "" {
		registry.build += hashOf(file)
	}
	return registry.build
}

func hashOf(texts ...string) string {
	h := fnv.New64a()
	for _, text := range texts {
		io.WriteString(h, text)
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil))
}

// sameBuild reports whether two may be those of one program.
func sameBuild(a, b string) bool {
	program1, file1, _ := strings.Cut(a, "-")
	program2, file2, _ := strings.Cut(b, "-")
	return program1 == program2 && (file1 == file2 || file1 == "" || file2 == "")
}
