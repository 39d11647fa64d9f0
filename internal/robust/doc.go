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
//	           in a held one bit 5, OWES: its holder's process wakes others, too, when it frees the word; else 0
//	bits 32-63 owner id; in a free word with WAITERS that of the process that freed it last
//
// Transitions; each is one compare-and-swap of all 64 bits, so no state between taken and owned exists:
//
//	take      {0 or y, W n?}     -> {self, LOCKED W?}          W is kept, and set by one who slept
//	queue     {x, LOCKED ..}     -> {x, LOCKED W ..}           then sleep while the low half is that
//	owe       {self, LOCKED ..}  -> {self, LOCKED OWES ..}     who sleeps on which other words is known to the process
//	free      {self, LOCKED}     -> {0}
//	free      {self, LOCKED W}   -> {self, W n}                then wake one; if that found nobody: {self, W n} -> {0}
//	bury      {dead, LOCKED W?}  -> {0, DIED W?}               by anybody who asked whether the owner lives; with W wakes all
//	bury      {dead, LOCKED WHOLE W?} -> {0, W?}               likewise; nothing to repair
//	recover   {0, DIED W?}       -> {self, LOCKED DIED W?}     the repair runs now
//	repaired  {self, LOCKED DIED W?} -> {self, LOCKED W?}      held, like any other
//	failed    {self, LOCKED DIED W?} -> {0, DIED W?}           also when its process dies meanwhile (bury); with W wakes all
//	retake    {0, DIED W?}       -> {self, LOCKED DIED WHOLE W?}   by who is to hold it, and will not repair
//	return    {self, LOCKED DIED WHOLE W?} -> {0, DIED W?}     also when its process dies meanwhile (bury); with W wakes all
//	expose    {self, LOCKED WHOLE ..} -> {self, LOCKED ..}     by a process that leaves the segment while it holds the word,
//	                                                           or that begins to change what it guards
//	abandon   {self, LOCKED W?}  -> {0, DIED W?}               with W wakes all
//
// OWES is kept by all that keep LOCKED, and goes with it; only a free or a return by the process that holds the word then wakes
// those others. For DIED is for whoever wakes by himself to find.
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
// cap (package parking), at which somebody looks at the word for the waiter, and asks for the owner; so a process
// stopped between its free and its wake delays others by the cap at most, and a free word is never slept on
// for longer.
//
// # What a kill or a stop leaves
//
//   - before take: nothing. After take, before free: a word that names the dead. Who wants it buries that and goes on: at once
//     if the death is known, else when it has slept for 5 ms and asks.
//   - between free and wake: a free word and sleepers, who look within the cap.
//   - between wake and clearing WAITERS: a useless wake for the next who frees.
//   - a waiter killed asleep: WAITERS stays set until a wake finds nobody. No count is wrong, for there is none.
//   - a holder that is stopped holds everybody up, as it must; a waiter that is stopped holds nobody up.
//
// # Why nobody is forgotten
//
// Who sleeps, sleeps on {LOCKED W}: it saw or set WAITERS in a held word, and the kernel has compared the whole low half
// since. As long as the word is held so, whoever frees it finds WAITERS. So it is enough that a release with WAITERS
// wakes one of those who sleep, keeps WAITERS if it woke one, and takes it away only if at some moment after the release
// nobody slept and the word is still as the release left it: who comes later compares with another low half, and looks.
// Who was woken either takes the word and keeps WAITERS, or finds it held by one who keeps it, or passes the wake on.
// That may fail to happen only by a death or a stop, and then the next release wakes another, or else the cap ends the
// sleep. TestModel explores all interleavings, kills and stops of a few goroutines of a few processes, and
// TestModelFindsFaults leaves out each of these steps. The cases, one by one:
//
//   - The line. Goroutines of one process that find the word held, by whomever, wait for each other on channels (package
//     parking), and only the first of them, the delegate, goes on to the word; the line has no bits in it. Who is in line
//     has not slept on the word, so no wake is meant for it, and it may leave without passing one on; when the delegate
//     goes, with the word or an error, the next one looks at the word afresh, and does all that a first comer does. So
//     the kernel sees one waiter for each process, which is the model with fewer waiters; a goroutine of the same
//     process may take the word, or free it, beside the line, as any other process may. Those who would recover the word
//     have a line of their own: they wait while another process repairs, when the others are to learn of the death.
//     (TestModel/in_line and its neighbours; TestInLineBehindRecover; locks.TestManyInLine.)
//   - A late release by who does not hold the word, or not any more: it is a compare-and-swap from a word that names the
//     releaser's process, held. It changes no bit of any other. (TestForeignRelease; locks.TestForeignRelease,
//     locks.TestRLockForeignRelease.)
//   - A stop between the release and its wake: the word is free, with WAITERS. Who comes takes it and wakes at its own
//     release; if nobody comes, the sleepers look at their cap. (TestReleaserStopped, locks.TestCrashRelease.)
//   - A stop between the wake and the clear: the clear compares with the word that this very release left, which comes
//     again after 2^28 others. (TestModelFindsFaults with clearUnasked, clearsAnyones, uncounted; TestReleasesDiffer.)
//   - A stop, or death, between being woken and taking: WAITERS is still there, so the next release wakes another.
//     (TestWokenAndStopped, locks.TestWaiterStopped, locks.TestCrashAsleep.)
//   - A slot that is used again: the word has the owner id, with the slot's generation, and so has every compare-and-swap.
//     A word that names an earlier generation names a dead process, also to the one that has the slot now.
//     (TestSlotReused, TestForeignRelease; that generations are not soon the same again: package shm.)
//   - A wake that meets a cancellation or a Close: a wait that ends with an error may have used up a wake. So its goroutine
//     looks once more, and takes a free word although its context is done; a held word has WAITERS, by which its release
//     wakes somebody else; whose handle is closed wakes one in its place. (TestCancelledTakesFreeWord,
//     TestClosedPassesWakeOn, locks.TestCancelAgainstRelease; TestModelFindsFaults with closeKeepsWake.)
//   - Kernel waiters that serve several goroutines or words: a wake counts one who is in the kernel, and finds nobody while
//     such a waiter is on its way back to it. Then WAITERS is cleared, and the waiter, which waits with the values that its
//     goroutines were given, finds the low half changed; if it is {LOCKED W} again by then, somebody else has set WAITERS
//     for the present holder, and its release wakes. (parking.TestWakeGoesOn, parking.TestValuesDiffer.)
//   - TryLock of a dead owner's word: it looks at the owner's slot each time, which those have marked who watch that
//     process, and now and then asks. (TestTryLockAsks, locks.TestTryAcquireNotices.)
//   - One processor: who sleeps in the kernel holds no lock of this package and nothing that a waker needs but the
//     processor, which the runtime takes back; who spins does so a bounded number of times. (TestOneProcessor.)
//
// Not fair: a taker may barge in before one who was woken (a Patient one does not always, so that those in line with it get
// their turn). Progress is blocking.
package robust
