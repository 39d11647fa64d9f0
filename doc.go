// Package shoal is the front page of a library for communication between processes on shared memory; it has
// no code of its own. The parts are packages that are imported one by one:
//
//   - [github.com/shoal-ipc/shoal/process] starts registered functions of a program as processes of their own;
//   - [github.com/shoal-ipc/shoal/shm] gives them segments of shared memory and the objects that live there;
//   - [github.com/shoal-ipc/shoal/locks], [github.com/shoal-ipc/shoal/value] and [github.com/shoal-ipc/shoal/array] are
//     such objects;
//   - [github.com/shoal-ipc/shoal/futex] and [github.com/shoal-ipc/shoal/ring] are the parts for those who build their own.
//
// An object is handed to another process by putting its pointer into the arguments of a function; it arrives
// usable. An error never comes with ownership: if Acquire returns one, the caller does not hold the lock.
package shoal
