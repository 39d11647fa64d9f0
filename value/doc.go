// Package value keeps one value of a fixed-size type in shared memory: behind a lock ([Value]), which may be
// a number whose C type is known at run time only ([Coded]), or as an integer with atomic operations
// ([Atomic]).
//
// # Layout
//
// The payload of a value; size is that of T, rounded up to a multiple of 8:
//
//	0         24     guard                    package guard
//	24        4      count of the stores      who stores; its lowest bit tells which cell counts
//	28        4      0
//	32        size   cell 0                   who stores while the count is odd
//	32+size   size   cell 1                   who stores while the count is even
//
// A store writes the cell that does not count and then raises the count by one store, so a process killed in
// the middle leaves the old value. A number whose type has one of Python's codes has that in its object's
// header ([shm.Code]). The payload of an atomic is the integer, 4 or 8 bytes.
package value
