package sys

// MemoryLeftIn is MemoryLeft of a file system, without swap.
var MemoryLeftIn = memoryLeft

// MonotonicBy is Monotonic of a process that reads the kernel's clock like this when it starts.
func MonotonicBy(kernel func() int64) (now func() int64) { return readClocks(kernel).now }

// Exiting reads a stat file.
func Exiting(stat []byte) bool { return exiting(stat) }

// DyingIn is Dying of the process with that directory.
func DyingIn(proc string) bool { return dying(proc) }
