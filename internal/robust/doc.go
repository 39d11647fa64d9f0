// Package robust is the owner word: mutual exclusion between processes that survives its holder's death at
// any instruction. Locks, values and whatever else in shared memory has one holder are thin over it. Who this
// process is and who is dead are given to it (Peers).
//
// # The word
//
// 64 bits, 8-aligned, little-endian. The low half is the futex word; the high half is the owner id of the
// process that holds it (package shm), 0 when nobody does. Free is 0.
//
//	bit 0      LOCKED    somebody holds it; the owner id is not 0
//	bit 1      WAITERS   somebody sleeps, or slept and has not been found gone
//	bit 2      DIED      a holder died (or gave up, see Abandon) and what it guarded may be half changed
//	bit 3      WHOLE     what the holder guards is whole at every instant, so its death harms nobody
//	bits 4-31  in a free word with WAITERS the count of the release that left it, by the process that bits 32-63 name;
//	           else 0
//	bits 32-63 owner id; in a free word with WAITERS that of the process that freed it last
//
// Transitions; each is one compare-and-swap of all 64 bits, so no state between taken and owned exists:
//
//	take      {0 or y, W n?}     -> {self, LOCKED W?}          W is kept, and set by one who slept
//	queue     {x, LOCKED ..}     -> {x, LOCKED W ..}           then sleep while the low half is that
//	free      {self, LOCKED}     -> {0}
//	free      {self, LOCKED W}   -> {self, W n}                then wake one; if that found nobody: {self, W n} -> {0}
//	bury      {dead, LOCKED W?}  -> {0, DIED W?}               by anybody who asked whether the owner lives; with W wakes all
//	bury      {dead, LOCKED WHOLE W?} -> {0, W?}               likewise; nothing to repair
//	recover   {0, DIED W?}       -> {self, LOCKED DIED W?}     the repair runs now
//	repaired  {self, LOCKED DIED W?} -> {self, LOCKED W?}      held, like any other
//	failed    {self, LOCKED DIED W?} -> {0, DIED W?}           also when its process dies meanwhile (bury); with W wakes all
//	expose    {self, LOCKED WHOLE ..} -> {self, LOCKED ..}     by a process that leaves the segment while it holds the word
//	abandon   {self, LOCKED W?}  -> {0, DIED W?}               with W wakes all
//
// DIED never passes through a word without it but by repaired. Nobody changes a word that names a living
// other process, except to set WAITERS.
//
// # Waking
//
// WAITERS lies in the half that the kernel compares before it lets a waiter sleep. A release keeps it, so
// that the next release wakes again even if the process woken now does nothing (it may be stopped, or be
// killed, between being woken and taking). It is cleared by one compare-and-swap from exactly what that
// release left, after a wake that found nobody: whoever meant to sleep by then finds that the word is not
// what it was. The releaser's id and its count n in the free word keep a clear that comes late (its process was
// stopped, or only its goroutine) from taking away the WAITERS of another release, whose wake may be yet to come.
// The count is the process's, for all its handles of all words, so that two of its releases differ; it comes round
// after 2^28 releases that found WAITERS, all of them between one release and its clear. Every sleep has a
// cap (package futex), at whose end the waiter looks at the word and asks for the owner again; so a process
// stopped between its free and its wake delays others by the cap at most, and a free word is never slept on
// for longer.
//
// # What a kill or a stop leaves
//
//   - before take: nothing. After take, before free: a word that names the dead; the next to want it asks, buries and goes on.
//   - between free and wake: a free word and sleepers, who look within the cap.
//   - between wake and clearing WAITERS: a useless wake for the next who frees.
//   - a waiter killed asleep: WAITERS stays set until a wake finds nobody. No count is wrong, for there is none.
//   - a holder that is stopped holds everybody up, as it must; a waiter that is stopped holds nobody up.
//
// TestModel explores all interleavings, kills and stops of a few processes.
//
// Not fair: a taker may barge in before one who was woken. Progress is blocking.
package robust
