package process

import (
	"context"
	"encoding"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/shoal-ipc/shoal/internal/inherit"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/shm"
)

// The environment of a program that Command starts (docs/LAYOUT.md). segmentsName has the segments as
// SHOAL_CHILD has them.
const (
	handlePrefix = "SHOAL_HANDLE_"
	segmentsName = "SHOAL_SEGMENTS"
)

// commands numbers default names.
var commands atomic.Int64

// Command starts another executable, argv[0] (found as a shell finds it), with the arguments argv[1:], and with
// objects named in its environment: SHOAL_HANDLE_<key> has the handle of each. Their segments arrive with it. A
// Go program that imports this package, and whose main begins with Main or Init, opens them with Given;
// docs/LAYOUT.md says what others have to do. Keys consist of letters, digits and underscores.
//
// When ctx ends the process gets SIGTERM, which ends the context of a program that uses Main, and SIGKILL after
// the grace. When this process ends it is killed, too, but not what it started itself (nor a program that has
// more privileges than this one: set-user-ID). Otherwise it is a child like others: Children has it, and Finish
// joins it. The errors are those of the operating system. By default its name is that of its file, and a
// number.
func Command(ctx context.Context, argv []string, objects map[string]shm.Object, opts ...Options) (*Process, error) {
	o := one(opts)
	if len(argv) == 0 || argv[0] == "" {
		return nil, fmt.Errorf("process: command: %w: there is no program", fs.ErrInvalid)
	}
	name := o.Name
	if name == "" {
		name = fmt.Sprintf("%s-%d", filepath.Base(argv[0]), commands.Add(1))
	}
	p, err := command(ctx, argv, objects, name, o)
	if err != nil {
		return nil, fmt.Errorf("process: start %s: %w", name, err)
	}
	return p, nil
}

func command(
	ctx context.Context, argv []string, objects map[string]shm.Object, name string, o Options,
) (*Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var handles []string
	var shared []shm.Object
	for _, key := range slices.Sorted(maps.Keys(objects)) {
		if !validKey(key) {
			return nil, fmt.Errorf("%w: key %q is not of letters, digits and underscores", fs.ErrInvalid, key)
		}
		if objects[key] == nil {
			return nil, fmt.Errorf("%w: object %s is nil", fs.ErrInvalid, key)
		}
		text, err := objects[key].Handle().MarshalText()
		if err != nil {
			return nil, err
		}
		handles = append(handles, handlePrefix+key+"="+string(text))
		shared = append(shared, objects[key])
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	if cmd.Err != nil {
		return nil, cmd.Err
	}
	c, err := spawn(ctx, cmd, name, o, nil, shared, func(segments []passed) []string {
		if len(segments) == 0 {
			return handles
		}
		var texts []string
		for _, s := range segments {
			texts = append(texts, s.String())
		}
		return append(handles, segmentsName+"="+strings.Join(texts, " "))
	})
	if err != nil {
		return nil, err
	}
	c.enter()
	c.attend(graceOf(o), nil)
	return c.Process, nil
}

// validKey reports whether key makes a name that every shell takes for a variable's.
func validKey(key string) bool {
	return key != "" && !strings.ContainsFunc(key, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r|32 < 'a' || r|32 > 'z')
	})
}

// Given opens the object that the process which started this one, with Command, named by key: o is the pointer
// to an empty Value, Lock or whatever it is. The error is fs.ErrNotExist if nothing was named so, and otherwise
// what opening a handle may return. It may be called again.
func Given(key string, o encoding.BinaryUnmarshaler) error {
	text, ok := os.LookupEnv(handlePrefix + key)
	if !ok {
		return fmt.Errorf("process: given %q: %w", key, fs.ErrNotExist)
	}
	var h shm.Handle
	err := h.UnmarshalText([]byte(text))
	if err == nil {
		var data []byte
		if data, err = h.MarshalBinary(); err == nil {
			err = o.UnmarshalBinary(data)
		}
	}
	if err != nil {
		return fmt.Errorf("process: given %q: %w", key, err)
	}
	return nil
}

// adoptGiven takes over the segments that came with a Command. What does not look like them is left alone: the
// variable may come from further above, and have nothing to do with the descriptors of this process.
func adoptGiven() {
	text, ok := os.LookupEnv(segmentsName)
	if !ok {
		return
	}
	os.Unsetenv(segmentsName) // the descriptors are this process's
	var segments []passed
	for _, field := range strings.Split(text, " ") {
		s, err := parsePassed(field)
		if err == nil && s.memory != s.alive && sys.OneFile(s.memory, s.alive) && !slices.ContainsFunc(segments, s.meets) {
			segments = append(segments, s)
		}
	}
	for _, s := range segments {
		if errors.Join(sys.SetCloseOnExec(s.memory), sys.SetCloseOnExec(s.alive)) == nil {
			inherit.Put(s.segment())
		}
	}
}

// meets reports whether s and t have something in common, which two segments do not.
func (s passed) meets(t passed) bool {
	return s.uuid == t.uuid || s.memory == t.memory || s.memory == t.alive || s.alive == t.memory || s.alive == t.alive
}
