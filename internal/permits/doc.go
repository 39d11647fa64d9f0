// Package permits is what semaphores and events have in shared memory: permits that are counted, permits that name who
// holds them, and a flag. Who this process is and who is dead are given to it (robust.Peers).
//
// # Layout
//
// The payload of a semaphore:
//
//	0    8   counting word                    CAS; 0 where permits are cells
//	8    4   the most permits, below 2^31     creator
//	12   4   mode: 0 counted, 1 cells         creator
//	16   4   sleep word of the cells          CAS
//	128  4n  n = most cells                   CAS; only with mode 1
//
// That of an event:
//
//	0    4   flag                             CAS
//
// All words are little-endian and sleep with their lowest 32 bits. Each transition is one compare-and-swap of the whole word.
//
// # The counting word
//
//	bits 0-30   VALUE     permits that are free
//	bit 31      WAITERS   somebody sleeps, or slept and has not been found gone
//	bits 32-63  COUNT     releases that found WAITERS
//
//	take     {c, W?, v > 0}   -> {c, W?, v-1}
//	queue    {c, 0}           -> {c, W, 0}               then sleep while the low half is {W, 0}
//	release  {c, v < most}    -> {c, v+1}
//	release  {c, W, v < most} -> {c+1, W, v+1}           then wake one; if that found nobody: {c+1, W, v+1} -> {c+1, v+1}
//
// A release keeps WAITERS, so that the next one wakes again even if the process woken now does nothing: it may be stopped or be
// killed before it takes. WAITERS is cleared by one compare-and-swap from exactly what that release left, after a wake
// that found nobody. Nobody can have gone to sleep since then, because sleepers want a value of 0, and the word cannot have
// come back to what it was: the value only rises by releases, and those count. (But after 2^32 of them.)
//
// # Cells
//
// A cell is the owner id of the process that holds the permit, 0 if it is free:
//
//	take     0 -> self
//	inherit  dead -> self     by anybody who asked whether the holder lives
//	release  self -> 0        then look at the sleep word
//	recall   dead -> 0        by the segment's sweep; then as a release
//
// The sleep word:
//
//	bit 0      WAITERS   somebody sleeps, or slept and has not been found gone
//	bit 1      FREED     a cell became free since the last one said that he will sleep
//	bits 2-31  COUNT     releases that found WAITERS
//
//	queue    {c, W? F?}  -> {c, W}        then look at all cells again; then sleep while the word is {c, W}
//	tell     {c, W F?}   -> {c+1, W F}    by a release; then wake one; if that found nobody: {c+1, W F} -> {c+1}
//
// Who sleeps sets WAITERS before he looks at the cells, and who releases frees the cell before he looks at the word, so
// one of the two notices the other. FREED is what the value is in a counting word: who goes to sleep takes it away, and a clear that
// comes after that fails. (Without it, one who queued between the wake that found nobody and the clear would sleep with
// WAITERS clear.) COUNT makes the clear exact, as above.
//
// # The flag
//
//	bit 0      SET      the event is set
//	bit 1      SLEEPS   somebody sleeps, or slept and gave up; only in a flag that is not SET
//	bits 2-31  COUNT    how often it was set
//
//	sleep  {c}      -> {c, SLEEPS}     then sleep while the flag is that
//	set    {c, S?}  -> {c+1, SET}      with S wakes all
//	clear  {c, SET} -> {c}
//
// A waiter goes on when the flag is SET or COUNT is not what it was when he came, so a set that is followed by a clear at
// once frees him too. (But not if the flag is set 2^30 times, to the last one, during one sleep.) SLEEPS goes with the set: whoever
// slept is woken, and nobody has to be found gone.
//
// # What a kill or a stop leaves
//
//   - between a change and its wake: sleepers, who look within the cap of a sleep (package parking).
//   - between wake and clear: a useless wake for the next who releases.
//   - between being woken and taking: a free permit and sleepers, who look at the next release, and within the cap.
//   - a waiter killed asleep: WAITERS, until a release finds nobody; SLEEPS, until the flag is set.
//   - a holder killed: a counted permit is lost. A cell names the dead until somebody wants it, or the segment is swept.
//   - who is stopped holds up nobody, but as the holder of a permit, and as above.
//
// TestModel explores all interleavings, kills and stops of a few processes.
//
// Not fair: a taker may barge in before one who was woken. Acquire and Wait block; everything else is lock-free.
package permits
