// Package barrier is what a barrier has in shared memory: a word that passes follow each other in, the arrivals of a
// pass, and the processes that are bound to come. Who this process is and who is dead are given to it (robust.Peers).
//
// # Layout
//
// The payload of a barrier for n parties:
//
//	0         8    word                       CAS
//	8         4    parties: n                 creator
//	128       8n   arrivals                   CAS
//	128+8n    8n   members                    CAS
//
// All words are little-endian; the word sleeps with its lowest 32 bits. Each transition is one compare-and-swap of a
// whole word.
//
// # The word
//
//	bit 0       BROKEN   nobody passes until a Reset
//	bit 1       SLEEPS   somebody sleeps, or slept and gave up; never together with BROKEN
//	bits 2-31   PASS     how many passes are over
//	bits 32-63  HISTORY  bit 32+k tells of the pass k+1 ago how it ended: 0 completed, 1 reset
//
//	sleep     {h, p}     -> {h, p, S}             then sleep while the low half is {p, S}
//	complete  {h, p, S?} -> {2h, p+1}             by who arrived last; with S wakes all
//	break     {h, p, S?} -> {h, p, BROKEN}        with S wakes all
//	reset     {h, p, BROKEN} -> {2h+1, p+1}       nobody sleeps then
//
// A pass that was broken is never completed, and one that was completed is never broken: both are one compare-and-swap
// from the same word. So all parties of a pass are told the same, also those who look when it is over: HISTORY tells
// them for 32 passes, after which they are told that it broke, since nobody knows. (PASS comes round after 2^30
// passes: who is stopped for just as long takes the pass for his own.)
//
// # Arrivals
//
// An arrival is {pass in bits 0-29, owner id in bits 32-63}; one of another pass than the word's, or of nobody (0), is
// a free cell.
//
//	arrive  {other pass, x} or 0 -> {p, self}     the lowest cell that is free, if the word is in pass p after reading that
//
// Cells are taken from the lowest upwards and none is given back, so those of a pass are always the first ones, and
// the index of a cell is the order of arrival. Who takes the last knows that all have come; he runs the action, and
// then completes the pass. Who comes when all cells are taken belongs to the next pass, and waits for this one to end.
//
// Who reads the word in pass p may be slow, and find a cell that was taken in p+1: to him that looks free. So he looks
// at the word again: if it is in p still, what he read in the cell is of p-1 or older, and his compare-and-swap fails
// if somebody has taken it since, in whatever pass. If it succeeds when p is over, p was not completed, because this
// cell was missing; the cell counts for no other pass, and is free.
//
// Who has arrived looks at the word once more: if p was broken or is over by then, HISTORY tells him how it ended.
//
// # Members
//
// A member is {number of handles in bits 0-30, STARTED in bit 31, owner id in bits 32-63}, 0 if the cell is free. STARTED says
// that the process was started with the barrier: then all handles that arrive in it count, for nobody knows how many its
// argument has:
//
//	enlist   0 -> {child, S, 0}                  by who starts it, before it runs
//	adopt    {self, S, k} -> {self, S, k+1}      by a handle that arrives in the child
//	join     {self, S?, k} -> {self, S?, k+1}, else 0 -> {self, 1}
//	close    {self, S?, k} -> {self, S?, k-1}; {self, S?, 1} -> 0
//	dismiss  {child, S, 0} -> 0                  by who could not start it
//	bury     {dead, S?, k} -> 0                  by a reset or the segment's sweep, when the barrier is broken
//
// A member that is dead breaks the barrier, and so does an arrival of the pass whose process is dead. The first to
// notice does it: who arrives last makes sure of all of them before he completes the pass, in memory where that tells that
// one has not ended (robust.Observer) and else by asking the kernel; who is about to sleep
// asks, who sleeps looks at what is known each time that he wakes, and package shm asks for him. The dead is buried
// only in a pass that is broken: as long as his death has not broken one his cell says that he is to come. More
// processes than there are cells are bound from their arrival to the end of the pass only.
//
// # What a kill or a stop leaves
//
//   - a party, arrived or not: a member or an arrival that is dead; the barrier breaks.
//   - one stopped: the others wait, as they do for who comes late; from the last arrival to the end of the pass, too.
//   - between a change of the word and its wake: sleepers, who look within the cap of a sleep (package parking).
//   - a waiter killed asleep: SLEEPS, until the pass ends: a useless wake.
//   - in a Reset: a barrier that is broken.
//   - between enlist and the start: a dead member.
//
// docs/models/barrier.pml explores all interleavings of a few processes with kills, time-outs, aborts and resets.
//
// Wait blocks. Everything else is lock-free.
package barrier
