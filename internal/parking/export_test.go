package parking

// ForceNoWaitv makes waits do without futex_waitv until the function that it returns is called.
func ForceNoWaitv() (undo func()) {
	noWaitv.Store(true)
	return func() { noWaitv.Store(false) }
}

// ForceNoBrief makes waits ready for contexts and Kick at once, until the function that it returns is called.
func ForceNoBrief() (undo func()) {
	noBrief.Store(true)
	return func() { noBrief.Store(false) }
}

// Waiting is how many goroutines of this process are in Wait, in the part that is ready for contexts and Kick.
func Waiting() (n int) {
	waiters.Lock()
	defer waiters.Unlock()
	for w := waiters.first; w != nil; w = w.next {
		n++
	}
	return n
}
