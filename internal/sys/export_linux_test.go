package sys

// MemoryLeftIn is MemoryLeft of a file system, without swap.
var MemoryLeftIn = memoryLeft

// Exiting reads a stat file.
func Exiting(stat []byte) bool { return exiting(stat) }

// DyingIn is Dying of the process with that directory.
func DyingIn(proc string) bool { return dying(proc) }
