// Package atomics has what sync/atomic lacks for memory that two processes share: a position that is
// published with a release store, and the CPU's hint for spinning.
package atomics
