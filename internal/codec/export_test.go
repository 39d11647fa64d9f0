package codec

// Reset forgets what is known about types.
func Reset() { plans.Clear() }
