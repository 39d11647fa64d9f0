// Package parking puts the goroutines of this process to sleep on words in shared memory: package futex, and what waits
// in this module, are thin over it.
package parking
