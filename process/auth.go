package process

import (
	"fmt"
	"slices"
	"sync"

	"github.com/shoal-ipc/shoal/internal/sys"
)

// auth has the key of this process: that of its parent, or made when it is first needed.
var auth struct {
	sync.Mutex
	key []byte
}

// AuthKey is a secret by which the processes of a program know each other, where they meet by an address that
// others can reach: 32 random bytes, the same in a program and in all its children (but for those that Command
// started). The slice is the caller's.
func AuthKey() []byte {
	auth.Lock()
	defer auth.Unlock()
	if auth.key == nil {
		key := make([]byte, 32)
		// The kernel's own (package crypto/rand would begin each process with tests of itself).
		if err := sys.Random(key); err != nil {
			panic(fmt.Errorf("process: no random numbers: %w", err))
		}
		auth.key = key
	}
	return slices.Clone(auth.key)
}

// SetAuthKey sets another key, for programs that share one with others. It is for before the first child: those
// that were started keep the key that they have. An empty key is a key; with nil the next AuthKey makes a new
// one.
func SetAuthKey(key []byte) {
	auth.Lock()
	defer auth.Unlock()
	auth.key = slices.Clone(key)
}
