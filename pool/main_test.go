package pool_test

import (
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
)

func TestMain(m *testing.M) {
	proctest.Main(m, "futex", "parking", "shm.(*group).run", "shm.(*group).guard")
}
