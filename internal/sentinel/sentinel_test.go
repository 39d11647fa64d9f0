package sentinel_test

import (
	"io"
	"testing"

	"github.com/shoal-ipc/shoal/internal/sentinel"
)

func TestTable(t *testing.T) {
	if sentinel.Find("test.ErrOne") != nil || len(sentinel.All()) != 0 {
		t.Error("there is one")
	}
	sentinel.Add("test.ErrOne", io.EOF)
	all := sentinel.All()
	if sentinel.Find("test.ErrOne") != io.EOF || len(all) != 1 || all["test.ErrOne"] != io.EOF {
		t.Errorf("%v", all)
	}
	clear(all)
	if sentinel.Find("test.ErrOne") != io.EOF {
		t.Error("All gave its own map away")
	}
	defer func() {
		if recover() == nil {
			t.Error("a second one of that name")
		}
	}()
	sentinel.Add("test.ErrOne", io.ErrNoProgress)
}
