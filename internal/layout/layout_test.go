package layout_test

import (
	"testing"

	"github.com/shoal-ipc/shoal/internal/layout"
)

func TestUp(t *testing.T) {
	for _, c := range []struct{ n, to, want uint64 }{
		{0, 8, 0}, {1, 8, 8}, {7, 8, 8}, {8, 8, 8}, {9, 8, 16}, {129, layout.CacheLine, 256}, {5, 1, 5},
		{1<<63 + 1, 4096, 1<<63 + 4096},
	} {
		if got := layout.Up(c.n, c.to); got != c.want {
			t.Errorf("Up(%d, %d) = %d, want %d", c.n, c.to, got, c.want)
		}
	}
	type offset uintptr
	if got := layout.Up(offset(3), 2); got != 4 {
		t.Errorf("Up(3, 2) = %d, want 4", got)
	}
}
