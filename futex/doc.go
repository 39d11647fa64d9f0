// Package futex waits and wakes on 32-bit words in shared memory.
//
// A word may be anywhere in memory that processes share; whoever waits on it says which value it expects, so
// that a change between looking and sleeping is never missed. The words carry all the state: a wake says only
// "look again".
//
// # Rules
//
//   - Wait may return nil at any time. The caller looks at the word again and decides.
//   - Goroutines of one process may share a waiter in the kernel. So Wake(n) may let more than n goroutines
//     go on, or one of each process, and what it returns is the number of waiters in the kernel: less than
//     the goroutines that go on, or 0 where a process looks at the word from time to time. A count is never a
//     message: how many may go on stands in shared memory, and so does that there is something to go on for.
//   - A wake without a change of the word may be noticed by nobody.
//   - An error of Wait may come together with a wake that was meant for somebody who goes on: a caller that
//     leaves looks once more, and passes one wake on when it goes without what it waited for. (What waits in
//     this module keeps a "somebody waits" bit in the word until a wake found nobody, which does the same.)
//     With futex_waitv (Linux 5.16) a wait that used up a wake returns nil, or passes it on itself.
//   - In the first 5 ms of a sleep the end of its context is noticed when these are over, later at once
//     (before Linux 5.16, within 50 ms).
//   - Every sleep ends after about a second at the latest. A process that was stopped (SIGSTOP, a debugger)
//     between its store and its wake announces nothing, so nobody may rely on wakes alone.
//   - The memory of the word must stay until Wait has returned, and may go then.
//
// However many goroutines wait, on one word or on as many, the process stays below 128 threads: the first few
// block in the kernel themselves, others wait on an io_uring (Linux 6.7, where it is allowed) or share
// threads, 127 words each, and beyond 10,000 words (from the beginning, before Linux 5.16) a goroutine looks
// at the words every few milliseconds, or as often as 1% of a CPU allows.
//
// Wake never blocks. Linux only at present; elsewhere Wait returns errors.ErrUnsupported.
package futex
