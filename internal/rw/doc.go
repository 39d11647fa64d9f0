// Package rw is what a reader-writer lock has in shared memory: the owner word of its writer (package robust), and cells
// in which processes count their readers, each in its own. Who this process is and who is dead are given to it
// (robust.Peers).
//
// # Layout
//
// The payload of a reader-writer lock:
//
//	0    8   owner word                     as package robust says
//	8    4   used: cells that were claimed  who holds the owner word
//	128  8   cell 0                         CAS
//	256  8   cell 1
//	...      up to cell 63, at 8192; the payload ends after 128 more bytes
//
// A cell, 64 bits, 8-aligned, little-endian; its low half is a futex word:
//
//	bits 0-29   COUNT     how many readers of the process are in, or look whether they may be
//	bit 30      0
//	bit 31      WAITERS   who has the owner word sleeps until COUNT is 0, or did
//	bits 32-63  owner id of the process, 0: nobody's
//
// Transitions; each is one compare-and-swap of all 64 bits:
//
//	enter   {self, W?, n}   -> {self, W?, n+1}     then look at the owner word: if it is not 0, leave and queue
//	leave   {self, W?, n>1} -> {self, W?, n-1}
//	leave   {self, W?, 1}   -> {self, 0}           with W wakes all
//	queue   {x, n>0}        -> {x, W, n}           by who has the owner word; then sleep while the low half is that
//	claim   {x, W?, 0}      -> {self, 1}           by who has the owner word; x may be nobody, and may live
//	bury    {dead, ..}      -> {0}                 by anybody who asked whether the process lives; with W wakes all
//
// # Writing
//
// A writer takes the owner word with WHOLE, and waits for each cell until its COUNT is 0. Then it is in, and takes WHOLE
// away (expose). So its death leaves DIED if it was in, and nothing if it was not. All else is as package robust has it:
// abandon, bury, recover. Who recovers waits for the cells too, with DIED, before the repair: a process that left the
// segment while it waited for readers may have taken WHOLE away in the last moment.
//
// # Reading
//
// Enter and the look at the owner word are the fast path. A reader writes its cell before it looks at the owner word, and a
// writer writes the owner word before it looks at the cell, so one of them notices the other; if both do, the reader leaves.
// A reader that may not enter so looks for a moment whether it may then, and else queues for the owner word among the writers, takes it with WHOLE, enters while no writer can be
// in, and frees the word for the next. A writer that has the word waits for those readers only that were in before: the others
// queue behind it, as other writers do. So neither readers nor writers starve unless the owner word starves them.
//
// A process has one cell at a time, for claims are made by who has the owner word, and only if no cell is its own. While it has readers
// there the cell stays where it is. A cell whose COUNT is 0 is anybody's to claim, who prefers one of nobody or of the dead,
// then one that was never used, for writers look at the used ones only. If readers of 64 other processes are in, the next waits
// as a writer does, with the owner word, until one of the cells has nobody left.
//
// # What a kill or a stop leaves
//
//   - of a reader: a cell that names the dead, which is buried by who waits for it, by the segment's sweep, or by who claims.
//   - of one that has the owner word with WHOLE: that word, which others bury without a trace.
//   - of a writer that is in: DIED.
//   - between leave and wake: a writer asleep on a cell with nobody in it, who looks within the cap of a sleep.
//   - of a writer asleep: WAITERS, until the next leave of a last reader wakes for nothing.
//   - who is stopped holds others up while it has the owner word, which a reader has for some instructions only, and while it
//     is in, but then no readers; but for those no one.
//
// TestModel explores all interleavings, kills and stops of a few readers and writers, where taking and freeing the owner word are
// one step each: package robust's model has these.
//
// Not fair as to single acquisitions, as the owner word is not; entering by the fast path is lock-free.
package rw
