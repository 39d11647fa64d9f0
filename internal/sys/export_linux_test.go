package sys

// MemoryLeftIn is MemoryLeft of a file system, without swap.
var MemoryLeftIn = memoryLeft
