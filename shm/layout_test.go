package shm_test

import (
	"reflect"
	"testing"

	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/shm"
)

// TestLayout holds the structures to the numbers of docs/LAYOUT.md.
func TestLayout(t *testing.T) {
	for _, c := range []struct {
		typ    reflect.Type
		size   uintptr
		fields map[string]uintptr
	}{
		{shm.HeaderType, 4096, map[string]uintptr{
			"Magic": 0, "Version": 8, "Flags": 12, "Size": 16, "UUID": 24, "Created": 40, "Creator": 48, "CreatorPid": 52,
			"HeapAt": 56, "SlotsUsed": 128, "Freed": 136, "DeathEpoch": 256, "Top": 384, "Committed": 512, "Name": 3840,
		}},
		{shm.SlotType, 128, map[string]uintptr{
			"Word": 0, "Doorbell": 4, "Who": 8, "PidSpace": 16, "Since": 24, "Freed": 32, "Waits": 40,
			"Guard": 48, "Node": 56,
		}},
		{shm.ObjectType, 128, map[string]uintptr{
			"Claim": 0, "State": 8, "Next": 16, "Hash": 24, "Kind": 32, "Size": 40, "NameLen": 48, "TypeLen": 50, "Code": 52,
			"Created": 56, "Creator": 64, "CreatorPid": 68, "More": 72, "Owners": 80, "Open": 96,
		}},
		{shm.WaitType, 24, map[string]uintptr{"Object": 0, "Since": 8, "Tag": 16}},
	} {
		if err := layout.CheckShared(c.typ); err != nil {
			t.Error(err)
		}
		if c.typ.Size() != c.size {
			t.Errorf("%v has %d bytes, want %d", c.typ, c.typ.Size(), c.size)
		}
		for i := range c.typ.NumField() {
			f := c.typ.Field(i)
			if f.Name == "_" {
				continue
			}
			if want, ok := c.fields[f.Name]; !ok || f.Offset != want {
				t.Errorf("%v.%s is at %d, want %d (listed: %v)", c.typ, f.Name, f.Offset, want, ok)
			}
			delete(c.fields, f.Name)
		}
		if len(c.fields) > 0 {
			t.Errorf("%v lacks %v", c.typ, c.fields)
		}
	}
	if got := [5]int{shm.DirAt, shm.HintsAt, shm.SlotsAt, shm.HeapAt, shm.LockBase >> 40}; got != [5]int{4096, 12288, 28672, 552960, 1 << 22} {
		t.Errorf("tables are at %v", got)
	}
}
