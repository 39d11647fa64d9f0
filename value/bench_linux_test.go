package value_test

import (
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/value"
)

func BenchmarkValue(b *testing.B) {
	v, err := value.New(proctest.Segment(b, 0), "", 0)
	proctest.Must(b, err)
	b.Run("op=update", func(b *testing.B) {
		for b.Loop() {
			if err := v.Update(b.Context(), func(x *int) error { *x++; return nil }); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("op=get", func(b *testing.B) {
		ctx := b.Context()
		for b.Loop() {
			if _, err := v.Get(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
	a, err := value.NewAtomic(proctest.Segment(b, 0), "", 0)
	proctest.Must(b, err)
	b.Run("op=add", func(b *testing.B) {
		for b.Loop() {
			a.Add(1)
		}
	})
}
