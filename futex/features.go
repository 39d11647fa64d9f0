package futex

import (
	"sync"

	"github.com/shoal-ipc/shoal/internal/sys"
)

// FeatureSet says what the kernel lets this process do. A call that a sandbox refuses counts as missing.
type FeatureSet struct {
	Waitv      bool // futex_waitv, Linux 5.16: waits that end at once when their context does
	Membarrier bool // membarrier(GLOBAL_EXPEDITED), Linux 4.16
	IoUring    bool // io_uring_setup
	Pidfd      bool // pidfd_open, Linux 5.3
}

var probe = sync.OnceValue(func() FeatureSet {
	return FeatureSet{
		Waitv:      sys.HasWaitv(),
		Membarrier: sys.HasMembarrier(),
		IoUring:    sys.HasIoUring(),
		Pidfd:      sys.HasPidfd(),
	}
})

// Features probes once.
func Features() FeatureSet { return probe() }
