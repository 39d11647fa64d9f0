package shm

import (
	"fmt"
	"io/fs"
	"os"

	"github.com/shoal-ipc/shoal/internal/sys"
)

// Options are the rarer wishes of a segment; the zero value is the default. A function that takes them takes
// one at most and panics if it is given more.
type Options struct {
	// Mode is the permission bits of a named segment; 0 means 0600. A segment is made with exactly these,
	// whatever the umask, and must be for its owner to read and write. One that is opened must not have more:
	// a segment that its owner opened up to others is refused by who does not know that.
	Mode fs.FileMode
	// Foreign accepts a segment of any user and of any mode: whoever may write to it can harm this process (a
	// file that is cut off is a fatal SIGBUS), and stop all that goes on in the segment.
	Foreign bool
	// Fresh makes OpenOrCreate replace a segment that no living process has, whatever is in it.
	Fresh bool
	// HugePages asks for transparent huge pages. It is a wish: what the system has none of it does without.
	HugePages bool
	// Populate reserves all memory now, and touches every page.
	Populate bool
	// Pin keeps the memory from being swapped out. The system's limit (ulimit -l) is held against the whole
	// size.
	Pin bool
}

// only is what a caller gave as options.
func only(opts []Options) (o Options) {
	switch len(opts) {
	case 0:
	case 1:
		o = opts[0]
	default:
		panic("shm: more than one Options")
	}
	return o
}

func (o Options) mode() fs.FileMode {
	if o.Mode == 0 {
		return 0o600
	}
	return o.Mode
}

func (o Options) check() error {
	if m := o.mode(); m&^0o666 != 0 || m&0o600 != 0o600 {
		return fmt.Errorf("%w: mode %#o of a segment", fs.ErrInvalid, m)
	}
	return nil
}

// accept says what is wrong with a file that is in the place of a segment.
func (o Options) accept(info fs.FileInfo) error {
	owner, mode := sys.Owner(info), info.Mode()
	switch {
	case !mode.IsRegular():
		return fmt.Errorf("%w: in its place is no regular file (%v)", ErrCorrupt, mode)
	case o.Foreign:
		return nil
	case owner != os.Geteuid():
		return fmt.Errorf("%w: it belongs to user %d, this is user %d: Options.Foreign accepts it",
			fs.ErrPermission, owner, os.Geteuid())
	case mode.Perm()&^o.mode() != 0:
		return fmt.Errorf("%w: its mode %#o is wider than %#o: Options.Mode says what is accepted",
			fs.ErrPermission, mode.Perm(), o.mode())
	}
	return nil
}

// apply does what o says of the memory.
func (o Options) apply(r *resources) error {
	h := heap{memory: memory(r.mem), file: r.memory, self: r.id}
	if o.HugePages {
		sys.HugePages(r.mem)
		if o.Populate { // before memory is reserved in small pages
			if err := enough(uint64(len(r.mem))); err != nil {
				return err
			}
			if err := sys.Populate(r.mem); err != nil {
				return fmt.Errorf("%w: touching every page: %w", ErrNoSpace, err)
			}
		}
	}
	if o.Populate {
		if err := h.commitTo(uint64(len(r.mem))); err != nil {
			return err
		}
		if err := sys.Populate(r.mem); err != nil {
			return fmt.Errorf("%w: touching every page: %w", ErrNoSpace, err)
		}
	}
	if o.Pin {
		if err := sys.Pin(r.mem); err != nil {
			return fmt.Errorf("pinning %d bytes, for which the limit (ulimit -l) must be higher: %w", len(r.mem), err)
		}
	}
	return nil
}
