package shm_test

import (
	"os"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
)

// elsewhereVariable tells a run of this test binary that it is in another pid namespace, and which segment it has.
const elsewhereVariable = "SHOAL_TEST_ELSEWHERE"

func TestMain(m *testing.M) {
	if in := os.Getenv(elsewhereVariable); in != "" {
		elsewhere(in)
		return
	}
	proctest.Main(m)
}
