package process_test

import (
	"os"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
)

// programVariable makes the test binary another program: one of programs.
const programVariable = "SHOAL_TEST_PROGRAM"

var programs = map[string]func(){}

func TestMain(m *testing.M) {
	if name := os.Getenv(programVariable); name != "" {
		programs[name]()
		os.Exit(99) // no program returns
	}
	proctest.Main(m)
}
