//go:build crashpoint

package value_test

import (
	"context"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/value"
)

type crashArgs struct {
	V *value.Value[pair]
	C *value.Coded
}

func crashValue(t testing.TB) crashArgs {
	v, err := value.New(proctest.Segment(t, 1), "", pair{1, 1})
	proctest.Must(t, err)
	c, err := value.NewCode(v.Segment(), "", 'd', 1)
	proctest.Must(t, err)
	return crashArgs{v, c}
}

// crashOwned is a value with a recursive lock.
func crashOwned(t testing.TB) crashArgs {
	seg := proctest.Segment(t, 1)
	r, err := locks.NewRLock(seg, "")
	proctest.Must(t, err)
	v, err := value.New(seg, "", pair{1, 1}, value.Options{Lock: r.Owner()})
	proctest.Must(t, err)
	return crashArgs{V: v}
}

var (
	opSet     = proctest.NewOp("value/set", nil, func(ctx context.Context, a crashArgs) error { return a.V.Set(ctx, pair{2, 2}) })
	opSetCode = proctest.NewOp("value/set-code", nil, func(ctx context.Context, a crashArgs) error { return a.C.Set(ctx, 2) })
	opUpdate  = proctest.NewOp("value/update", nil, func(ctx context.Context, a crashArgs) error {
		return a.V.Update(ctx, func(p *pair) error {
			p.A++
			p.B++
			return nil
		})
	})
)

// A process killed at any step of a change leaves the old value or the new one, and others go on without
// noticing; one that survives has made the change.
func TestCrashChange(t *testing.T) {
	for _, c := range []struct {
		op    *proctest.Op[crashArgs]
		setup func(t testing.TB) crashArgs
	}{{opSet, crashValue}, {opUpdate, crashValue}, {opUpdate, crashOwned}} {
		proctest.Crash(t, c.op, c.setup, func(t testing.TB, a crashArgs) {
			if x := a.V.Load(); x.A != x.B {
				t.Errorf("half a value while its writer is stopped: %v", x)
			}
		}, func(t testing.TB, a crashArgs, survived bool) {
			x := get(t, a.V)
			if x != (pair{2, 2}) && (survived || x != (pair{1, 1})) {
				t.Errorf("read %v, survived %v", x, survived)
			}
			for range 3 {
				x.A++
				x.B++
				proctest.Must(t, a.V.Set(t.Context(), x))
				if got := get(t, a.V); got != x {
					t.Errorf("read %v after setting %v", got, x)
				}
			}
		})
	}
}

// So does one killed in a change of a Coded.
func TestCrashSetCode(t *testing.T) {
	proctest.Crash(t, opSetCode, crashValue, nil, func(t testing.TB, a crashArgs, survived bool) {
		x, err := a.C.Get(t.Context())
		if err != nil || x != 2.0 && (survived || x != 1.0) {
			t.Errorf("read %v, %v, survived %v", x, err, survived)
		}
		proctest.Must(t, a.C.Set(t.Context(), 3))
		if x, err := a.C.Get(t.Context()); x != 3.0 || err != nil {
			t.Errorf("read %v, %v after setting 3", x, err)
		}
	})
}
