package pool

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/shoal-ipc/shoal/internal/layout"
)

// TestLayout holds the structures to the tables in the package's documentation.
func TestLayout(t *testing.T) {
	for _, c := range []struct {
		t    reflect.Type
		want string
	}{
		{reflect.TypeFor[desk](), "tasks 0 128, notes 128 128, turn 256 8, done 384 8, busy 392 8, memory 400 8, state 408 4, low 512 4, stop 516 4, size 640"},
		{reflect.TypeFor[slot](), "call 0 8, time 8 8, fn 16 4, kind 20 4, size 24 8, data 32 96, size 128"},
		{reflect.TypeFor[note](), "kind 0 4, size 4 4, call 8 8, data 16 112, size 128"},
	} {
		if err := layout.CheckShared(c.t); err != nil && c.t != reflect.TypeFor[note]() { // an item of a ring is plain data
			t.Error(err)
		}
		got := ""
		for i := range c.t.NumField() {
			if f := c.t.Field(i); f.Name != "_" {
				got += fmt.Sprintf("%s %d %d, ", f.Name, f.Offset, f.Type.Size())
			}
		}
		if got += fmt.Sprintf("size %d", c.t.Size()); got != c.want {
			t.Errorf("%v: %s, want %s", c.t, got, c.want)
		}
	}
	if err := layout.Plain(reflect.TypeFor[note]()); err != nil {
		t.Error(err)
	}
	if slotsAt()%layout.CacheLine != 0 || slots&(slots-1) != 0 {
		t.Errorf("%d slots at %d", slots, slotsAt())
	}
}
