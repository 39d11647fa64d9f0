package inherit_test

import (
	"errors"
	"os"
	"testing"

	"github.com/shoal-ipc/shoal/internal/inherit"
)

func openNull(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// What was put is taken once, and what nobody took is closed by Reset.
func TestTable(t *testing.T) {
	first := inherit.Segment{UUID: inherit.UUID{1}, Owner: 7, Memory: openNull(t), Alive: openNull(t)}
	second := inherit.Segment{UUID: inherit.UUID{2}, Owner: 8, Memory: openNull(t), Alive: openNull(t)}
	inherit.Put(first)
	inherit.Put(second)
	if s, ok := inherit.Take(first.UUID); !ok || s != first {
		t.Errorf("took %+v, %v", s, ok)
	}
	if _, ok := inherit.Take(first.UUID); ok {
		t.Error("taken twice")
	}
	inherit.Reset()
	if _, ok := inherit.Take(second.UUID); ok {
		t.Error("taken after Reset")
	}
	for i, f := range []*os.File{second.Memory, second.Alive} {
		if err := f.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("file %d was not closed: %v", i, err)
		}
	}
	if err := errors.Join(first.Memory.Close(), first.Alive.Close()); err != nil {
		t.Errorf("what was taken is the taker's: %v", err)
	}
}

// Who is to be asked is asked, until Reset.
func TestAsk(t *testing.T) {
	wanted := errors.New("not today")
	if _, err := inherit.Ask(inherit.UUID{1}); err == nil {
		t.Error("nobody answered")
	}
	inherit.SetAsk(func(id inherit.UUID) (inherit.Segment, error) { return inherit.Segment{UUID: id, Owner: 7}, wanted })
	if s, err := inherit.Ask(inherit.UUID{1}); err != wanted || s.UUID != (inherit.UUID{1}) || s.Owner != 7 {
		t.Errorf("%+v, %v", s, err)
	}
	inherit.Reset()
	if _, err := inherit.Ask(inherit.UUID{1}); err == nil || err == wanted {
		t.Errorf("after Reset: %v", err)
	}
}

// The parent closes its copies once the child has its own, and gives the participant back when there is no child.
func TestGift(t *testing.T) {
	abandoned := 0
	s := inherit.Segment{Memory: openNull(t), Alive: openNull(t)}
	g := inherit.NewGift(s, func() { abandoned++ })
	g.Sent()
	if err := s.Alive.Close(); !errors.Is(err, os.ErrClosed) || abandoned != 0 {
		t.Errorf("after Sent: %v, abandoned %d times", err, abandoned)
	}
	g.Abandon()
	if abandoned != 1 {
		t.Errorf("abandoned %d times", abandoned)
	}
}
