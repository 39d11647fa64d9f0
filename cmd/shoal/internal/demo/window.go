package demo

// window says which parts of the shared texts are in use. Parts are taken in a circle and come free in any
// order; the room of a part is used again when all that were taken before it are free too. It is not safe for
// concurrent use.
type window struct {
	size  int
	parts []part // oldest first
}

type part struct {
	off, len int
	free     bool
}

// alignment keeps texts out of each other's cache lines.
const alignment = 64

// take returns the offset of n bytes, n > 0; ok is false while there is no room. There never is for more than
// size.
func (w *window) take(n int) (off int, ok bool) {
	n = (n + alignment - 1) &^ (alignment - 1)
	switch {
	case len(w.parts) == 0:
		off, ok = 0, n <= w.size
	default:
		head := w.parts[0].off
		last := w.parts[len(w.parts)-1]
		tail := last.off + last.len
		switch {
		case tail <= head: // in use: up to tail, and from head on
			off, ok = tail, n <= head-tail
		case n <= w.size-tail:
			off, ok = tail, true
		default:
			off, ok = 0, n <= head
		}
	}
	if ok {
		w.parts = append(w.parts, part{off: off, len: n})
	}
	return off, ok
}

// give frees what take returned.
func (w *window) give(off int) {
	for i := range w.parts {
		if w.parts[i].off == off && !w.parts[i].free {
			w.parts[i].free = true
			break
		}
	}
	n := 0
	for n < len(w.parts) && w.parts[n].free {
		n++
	}
	w.parts = w.parts[n:]
}
