// Package array keeps a fixed number of values of a fixed-size type in shared memory: [Array], and [Coded]
// where the C type is known at run time only.
//
// # Layout
//
// The payload of an array:
//
//	0     24           guard                  package guard
//	24    8            n, the length          creator
//	128   n * size(T)  the elements           whoever stores
package array
