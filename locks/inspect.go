package locks

import (
	"fmt"
	"time"

	"github.com/shoal-ipc/shoal/shm"
)

// Info is what an object records about itself. Participants that died are not in it. The Since of a participant is not
// since when it holds the object or waits, but since when it has the segment.
type Info struct {
	Owners  []shm.Participant // who hold it, each once; of a semaphore only with Recover, of a barrier who are bound to it, of an RWLock who read or write, and who is to write next
	Waiters []shm.Participant // who wait for it, each once, however many of its goroutines do
	Since   time.Time         // since when the first of them does; zero if nobody does
}

// Inspect reads the record of any object of this package, and of a value or array that has a lock of its own. For a value,
// array or condition that was given a lock, inspect that lock: of such a value or array, of an Unlocked one, and of an object of
// any other package the Info is empty, without an error, and of such a condition it names those who wait to be notified.
// Nobody who takes or frees a lock pays for it: a wait is recorded when it has lasted for 5
// milliseconds, and of a process that waits for more than 64 objects at a time some waits are not. So that
// nobody is in Waiters does not mean that nobody waits. The answer may be old when it arrives. The errors are
// shm.ErrStale, shm.ErrCorrupt and os.ErrClosed.
func Inspect(o shm.Object) (Info, error) {
	owners, waiters, since, err := shm.Inspect(o)
	if err != nil {
		return Info{}, fmt.Errorf("locks: %w", err)
	}
	return Info{owners, waiters, since}, nil
}
