// Package futex waits and wakes on 32-bit words in shared memory.
//
// A word may be anywhere in memory that processes share; whoever waits on it says which value it expects, so
// that a change between looking and sleeping is never missed. The words carry all the state: a wake says only
// "look again".
//
// # Rules
//
//   - Wait may return nil at any time. The caller looks at the word again and decides.
//   - Before Linux 5.16 an error of Wait may come together with a wake that was meant for somebody who goes on:
//     a caller that leaves looks once more, and passes one wake on when it goes without what it waited for.
//     (What waits in this module keeps a "somebody waits" bit in the word until a wake found nobody, which does
//     the same.) With futex_waitv a wait that used up a wake returns nil.
//   - In the first 5 ms of a sleep the end of its context is noticed when these are over, later at once (before
//     Linux 5.16, within 50 ms).
//   - Every sleep ends after a second at the latest. A process that was stopped (SIGSTOP, a debugger) between its store and
//     its wake announces nothing, so nobody may rely on wakes alone.
//   - The count that Wake returns is of kernel waiters; it may be lower than the number of goroutines that go on.
//
// Wait blocks a thread. Wake never blocks. Linux only at present; elsewhere Wait returns errors.ErrUnsupported.
package futex
