package futex

// ForceNoWaitv makes waits do without futex_waitv until the function that it returns is called.
func ForceNoWaitv() (undo func()) {
	noWaitv.Store(true)
	return func() { noWaitv.Store(false) }
}

// Waiting is how many goroutines of this process are in Wait.
func Waiting() (n int) {
	waiters.Lock()
	defer waiters.Unlock()
	for w := waiters.first; w != nil; w = w.next {
		n++
	}
	return n
}
