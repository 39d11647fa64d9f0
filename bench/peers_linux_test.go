package bench_test

import (
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/bench"
)

// TestBadPeer: a peer that fails, whatever the way, has an error and no numbers, and does not stop the others.
func TestBadPeer(t *testing.T) {
	const good = `echo "{\"ns\": 5, \"cpus\": [[$4,$4]]}"`
	for _, c := range []struct{ name, script, want string }{
		{"good", good, ""},
		{"silent", "exit 0", "no measurement"},
		{"failed", good + "; echo it broke >&2; exit 1", "it broke"},
		{"killed", good + "; kill -9 $$", "killed"},
		{"zero", `echo '{"ns": 0, "cpus": [[0,0]]}'`, "costs 0 ns"},
		{"elsewhere", `echo '{"ns": 5, "cpus": [[9999,9999]]}'`, "ran on CPUs"},
		{"nowhere", `echo '{"ns": 5}'`, "0 processes"},
		{"twice", good + ";" + good, "no measurement"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, done, err := bench.CompareFake("value.add", c.script)
			if err != nil {
				t.Fatal(err)
			}
			defer done()
			checkPeer(t, p, c.want, false)
		})
	}
}

// TestMissingPeer: a peer that cannot be compiled is missing.
func TestMissingPeer(t *testing.T) {
	p, done, err := bench.CompareWithout("value.add")
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	checkPeer(t, p, "missing", true)
}

// TestPeerThatLacks: a peer that says that it lacks what it needs is missing too, not failed.
func TestPeerThatLacks(t *testing.T) {
	p, done, err := bench.CompareFake("value.add", "echo no module >&2; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	checkPeer(t, p, "no module", true)
}

// checkPeer measures Shoal and a peer, whose error contains want.
func checkPeer(t *testing.T, c *bench.Comparison, want string, missing bool) {
	t.Helper()
	for range 2 {
		if err := c.Repeat(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	r := c.Result()
	if r.Err != nil {
		t.Skip(r.Err)
	}
	var text strings.Builder
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	own, peer := r.Sides[0], r.Sides[1]
	if own.Err != nil || own.Repeats != 1 || !(own.Cost.Min > 0) {
		t.Errorf("Shoal's own side is %+v", own)
	}
	if want == "" {
		if peer.Err != nil || peer.Cost.Median != 5 || peer.Ratio.Median != own.Cost.Median/5 || len(r.Records()) != 2 {
			t.Errorf("%+v", peer)
		}
		return
	}
	if peer.Err == nil || !strings.Contains(peer.Err.Error(), want) || peer.Missing() != missing || peer.Repeats != 0 {
		t.Errorf("%+v, want an error that contains %q", peer, want)
	}
	if !strings.Contains(text.String(), want) || len(r.Records()) != 1 {
		t.Errorf("text %q, records %+v", &text, r.Records())
	}
}
