// Package sys holds every raw system call of the module: memory files, byte locks, futexes, process descriptors.
//
// One file per operating system has the same functions; where a system lacks them they return
// errors.ErrUnsupported, so that all packages above compile everywhere. Nothing here keeps state or
// interprets what it is given.
package sys
