package words

import "iter"

// Cut iterates over the ranges [from, to) of about equal length, at most max, into which size bytes are cut.
func Cut(size, max int) iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		n := (size + max - 1) / max
		for from, left := 0, n; left > 0; left-- {
			to := from + (size-from)/left
			if !yield(from, to) {
				return
			}
			from = to
		}
	}
}
