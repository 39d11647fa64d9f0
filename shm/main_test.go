package shm_test

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/internal/inherit"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/shm"
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

// elsewhere is the child of startElsewhere, which package process cannot start.
func elsewhere(in string) {
	var s inherit.Segment
	var handle shm.Handle
	var uuid []byte
	text := strings.Fields(in)
	fmt.Sscanf(text[0], "%x", &uuid)
	fmt.Sscan(text[1], &s.Owner)
	s.UUID, s.Memory, s.Alive = [16]byte(uuid), os.NewFile(3, "memory"), os.NewFile(4, "alive")
	for _, f := range []*os.File{s.Memory, s.Alive} {
		if err := sys.SetCloseOnExec(int(f.Fd())); err != nil {
			panic(err)
		}
	}
	if err := handle.UnmarshalText([]byte(text[2])); err != nil {
		panic(err)
	}
	inherit.Put(s)
	var r shm.Ref
	if _, err := (shm.Kind{Name: "block"}).OpenHandle(&r, handle); err != nil {
		panic(err)
	}
	fmt.Println("ready", os.Getpid())
	io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(&r)
}
