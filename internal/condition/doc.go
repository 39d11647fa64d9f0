// Package condition is the waiters of a condition: who waits, in which order, and who was notified. The lock is given to
// it, and so is who this process is and who is dead (robust.Peers).
//
// # Layout
//
// The payload of a condition, and that of its further records, which are an object of their own:
//
//	0    24  guard, as that of a value: package guard    creator
//	24   4   generation of the further records' object   holder of the lock, before the next
//	28   4   0
//	32   8   its offset, 0: there is none                holder of the lock, once
//	40   8   tickets that were drawn                     holder of the lock
//	128  256 8 records
//
//	0    8   offset of the condition's object            creator
//	8    4   generation of that                          creator
//	128  32,512  1,016 records
//
// A record of 32 bytes, 32-aligned, is for the waits of one process:
//
//	0   4   owner id of the process, or of who had the record last   holder of the lock
//	8   8   waits                                        CAS
//	16  8   ticket: a lower one is notified first        holder of the lock
//
// The waits, of which the low half is the futex word:
//
//	bits 0-13   GRANTED  waits that were notified and do not know it yet
//	bits 14-27  RETURNED notifications to be passed on to others
//	bits 28-31  TAG      counts the processes that have had the record
//	bits 32-45  ALL      waits that have begun and not ended
//	bits 46-59  TAKEN    waits that know that they were notified; ALL >= GRANTED + TAKEN
//
// A record is free when its waits are {TAG} alone. Each transition is one compare-and-swap of all 64 bits. Those above the
// line are made by who holds the condition's lock, the others by the owner at any time:
//
//	claim    {tag}               -> {tag+1}                then the owner id
//	begin    {all}               -> {all+1}                if nobody waited, with a new ticket
//	notify   {granted, all}      -> {granted+1, all}       if all > granted + taken; if granted was 0 the lock's release wakes one
//	consume  {taken, all}        -> {taken-1, all-1}       the last that Wait does
//	resign   {all}               -> {all-1}                if all > granted + taken: others are there for what was granted
//	accept   {granted, all}      -> {granted-1, all-1}     else
//	empty    {dead's, or returned} -> {tag}, {returned 0}  then notify others as often as these were notified
//	-------
//	take     {granted, taken}    -> {granted-1, taken+1}   by the first in line
//	forsake  {taken, all}        -> {returned+1, taken-1, all-1}   by one whose handle was closed, as the next two
//	forsake  {granted, all}      -> {returned+1, granted-1, all-1} if all = granted + taken
//	forsake  {all}               -> {all-1}                else
//
// # How it goes
//
// A wait begins under the lock, and its goroutine joins the line of its process (package parking), in the same order, before
// it frees the lock. The first in line sleeps while GRANTED is 0. Who notifies wakes it when it frees the lock (package robust,
// OWES), without which it could not go on. When it has taken one it leaves the line, the next
// does likewise, and it takes the lock again, however long that takes. The notification is consumed when it has
// the lock. Notify grants to the record with the lowest ticket of those that have waits for it, and a process that has more
// of them draws another ticket: processes are in turn, in order of their oldest waiter. It waits for nobody.
//
// Who gives up, because its context is done, takes the lock too, and then looks whether it was notified: if all waits
// of its process were, one of the notifications is its own. So no notification is lost or counts twice. Who was notified,
// but returns ErrOwnerDied, notifies another, who may have slept from before the death until it was recovered from. Who cannot
// have the lock, because its handle was closed, returns what it was notified of (RETURNED), and wakes the others.
//
// # Deaths
//
// All that concerns more than one word is changed under the lock. Who dies in that has died holding the lock: every wait
// that learns of it ends with ErrOwnerDied, holding the lock with its mark, unless it is notified after a recovery. Until then the record of each is as it was, or
// one step further.
//
// What a process had been granted that dies in its wait goes to others. Whoever takes the lock for Wait or
// Notify finds that, and who sleeps asks for it: it takes the lock, empties the record of the dead, and goes on waiting.
//
// # What a kill or a stop leaves
//
//   - in Wait, before the lock is free: a record that names the dead, and a death of the lock's holder.
//   - asleep, notified or not: a record of the dead, of which the next who looks makes a free one.
//   - between being notified and consuming: the same, and what was granted goes on.
//   - between a grant and the lock's release: a death of the lock's holder; a stop holds up all who want the lock, as it must.
//   - between the release and its wakes: those who were notified look at the next death, and within a second.
//   - between a return and its wakes: the others look at the next death, notification or wait, and within a second.
//   - a waiter that is stopped holds nobody up, but keeps what it was granted.
//
// The TAG is for one whose wait ends after its process left the segment, when the record may be another's: its
// compare-and-swap fails, unless the record had 16 owners between its load and that.
//
// docs/models/condition.pml is a model of this for package spin.
package condition
