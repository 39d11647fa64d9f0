package queue

// SmallFirst are Options of a queue without a bound whose first ring holds n items.
func SmallFirst(o Options, n int) Options {
	o.first = n
	return o
}

// Rings is how many rings the queue has.
func Rings[T any](q *Queue[T]) int {
	for i := 0; ; i++ {
		l, err := q.c.lane(i)
		if err != nil {
			return i
		}
		if l.mark() != endMore {
			return i + 1
		}
	}
}

// Memory is the payload of the queue.
func Memory[T any](q *Queue[T]) []byte { return q.c.mem }
