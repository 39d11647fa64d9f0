package proctest_test

import (
	"os"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
)

// fixtureVariable names what a run of this test binary, started by one of its tests, is to do wrong.
const fixtureVariable = "SHOAL_TEST_FIXTURE"

func TestMain(m *testing.M) {
	switch os.Getenv(fixtureVariable) {
	case "":
		proctest.Main(m)
	case "hang":
		proctest.SetPatience(time.Hour, time.Minute) // until the fixture says otherwise
		proctest.Main(m)
	default:
		proctest.SetPatience(time.Minute, 100*time.Millisecond)
		proctest.Main(m, "proctest_test.permitted")
	}
}

func TestNeedLinux(t *testing.T) {
	t.Run("inner", func(t *testing.T) {
		proctest.NeedLinux(t, "this test says so")
		if _, err := os.Stat("/proc/self/fd"); err != nil {
			t.Error(err)
		}
	})
}
