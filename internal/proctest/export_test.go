package proctest

import "time"

// SetPatience shortens what Watch and the search for leaks wait for, in a test binary that is to fail.
func SetPatience(watch, leaks time.Duration) { patience, settle = watch, leaks }
