// Package ticks is what the two programs feed and watch agree on: names and the shape of a tick. They could as well be
// written by two people who only agree on the words "prices", "last" and "ticks" and on the fields. Run them in two terminals, in
// any order, and kill either as often as you like:
//
//	go run ./examples/ticks/feed
//	go run ./examples/ticks/watch -rm
package ticks

// Tick has no pointers, so it is copied as it is; both sides check its shape (kinds, sizes, offsets).
type Tick struct {
	Symbol [8]byte
	Price  float64
	Seq    uint64
}

// Where the programs meet.
const (
	Segment = "prices"
	Size    = 16 << 20
)
