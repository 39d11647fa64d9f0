// Package pool runs registered functions on a fixed number of worker processes.
package pool
