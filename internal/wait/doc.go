// Package wait is how things that do not block by themselves (rings) are waited for: by a Word, where to publish must
// cost next to nothing, and by a Bell, for events that are rare.
//
// # What a Word is for
//
// One side publishes (items, or room), the other sleeps when it finds nothing. The publisher writes what it publishes
// and then looks for sleepers; the sleeper sets a flag and then looks for what was published. If each does the two
// in order, one of them sees the other (Dekker). On amd64 the publisher does not, by itself: its store waits in
// the processor's store buffer while the load that follows it is done. A fence after each publication costs many times what
// the rest of a push costs. So it is the sleeper that pays: membarrier(2) is a full barrier on each
// processor that runs a registered process (GLOBAL_EXPEDITED, Linux 4.16), between any two of its instructions. That costs
// some microseconds and an interrupt where the publisher runs, too much for processes that take turns, hence sleep at each
// turn: then the sleeper asks publishers to fence, and pays once.
//
// # States
//
// A Word is 32 bits, which the kernel compares. Zero is a word that nobody has used.
//
//	bits 0-1    SLEEPERS  who may sleep, or is about to: 0 nobody, 1 one, 2 several (3 counts as several)
//	bit 2       WAKING    of several, one is being woken, or was, and nobody has come since
//	bit 3       FENCED    publishers are to fence
//	bit 4       SURE      all publishers do: whoever published before they saw FENCED can be seen
//	bit 5       BARE      a process that is registered publishes without a fence while it does not see FENCED
//	bits 6-11   TURN      how often FENCED was taken away
//	bits 12-31  WAKES     how often somebody was woken
//
//	join     x                   -> x|BARE                 by who is registered, before it first publishes without a fence
//	flag     SLEEPERS n, WAKING? -> n+1 or 2, no WAKING    by a sleeper; with FENCED too, if it asks for that
//	confirm  FENCED, TURN t      -> SURE                   by who has had a barrier since it saw that
//	rouse    SLEEPERS 1          -> 0, WAKES+1             then wake all
//	         SLEEPERS 2          -> 2, WAKING, WAKES+1     then wake one; if that finds nobody:
//	nobody   exactly that        -> SLEEPERS 0, no WAKING
//	all      SLEEPERS n          -> 0, no WAKING, WAKES+1  then wake all: WakeAll
//	unflag   exactly what flag left, SLEEPERS 1 -> 0       by the sleeper, when it need not sleep
//	unfence  FENCED, SLEEPERS 0  -> no FENCED, no SURE, TURN+1  by a publisher that has fenced in vain for long
//
// All are compare-and-swaps, hence full barriers. A sleeper need not write if SLEEPERS is 2 and WAKING is not set.
//
//	publisher                             sleeper
//	publish                               look; if there is something: done
//	if not registered: fence              flag (perhaps asking for FENCED)
//	load the state                        if BARE, and not both FENCED and SURE: barrier,
//	if FENCED: fence, load it again         and then confirm, if FENCED
//	if SLEEPERS: rouse                    look; if there is something: unflag, done
//	                                      sleep while the state is what flag left
//
// # Why no wake is lost
//
// Let S be a sleeper that sleeps, t the time of its flag (of its load, if it need not write), and P a publisher whose item S did
// not see. P's last load of the state in that publication is before t or after it.
//
// After t, P finds SLEEPERS, or that somebody took S out of the state since, who wakes S, or WAKES is another, so that the
// kernel does not let S sleep. P rouses. It remains that the load was before t. Then:
//
//   - P fences always. Its item was visible before the load, hence before t, and S looked after t: it saw the item.
//   - P is registered, and S had a barrier after t and before its last look. P had loaded before t, so the store
//     of the item precedes the barrier in P's program; it was visible when the barrier was over. S saw the item.
//   - P is registered, and S found FENCED and SURE at t. If P's first load found FENCED it fenced and loaded
//     again: the first case. If it did not, either it loaded before FENCED was set in this TURN; then the barrier
//     that came before SURE came after that load, and the item was visible before t. Or it loaded after FENCED was
//     taken away; but FENCED was there at t, so that load was after t.
//   - P is registered and S found no BARE at t. P set it before it left out its first fence, with a
//     compare-and-swap of the same word, which was after t; so was every load that followed.
//
// SURE is set only if TURN is as it was when the barrier was called for: between two turns a publisher may have
// loaded without seeing FENCED. Who registers for barriers while S has one either was reached by it or loads the state after it:
// the kernel orders what follows a registration after it.
//
// On other architectures the position is published by sync/atomic, whose operations have one order that all see: 386 has a
// locked instruction, arm64 has STLR and LDAR, riscv64 has its fences. Under the race detector, whose store has no such order,
// Publish exchanges. There nobody is BARE (atomics.PublishIsFenced), so nobody has a barrier and all is the first case.
//
// model_test.go goes through all interleavings of a few processes with store buffers and finds each of 15 deliberate
// mistakes, the missing barrier first.
//
// # Who makes sure
//
// Who asks for FENCED, with a barrier. A sleeper that the kernel refuses membarrier (an old kernel, a seccomp profile; EPERM
// counts as ENOSYS) asks all the same, and does not know whether all fence, until somebody made sure: a publisher that finds
// FENCED without SURE a second time does, if it can. What such a sleeper may have missed is on its way out of a store
// buffer: so it looks again after 1, 2, 4 and 8 ms, and sleeps as others do after that. No acknowledgement by each process
// is needed: who maps the segment later, was stopped, or executed another program, finds FENCED in the state, or
// SLEEPERS, when it first looks. Where no process can have barriers nobody is BARE, and nobody is unsure.
//
// A process that was not registered when it began (a C peer that registers late) fences, until it is. exec ends the registration,
// and with it the process image that relied on it; fork and vfork keep it.
//
// # When FENCED is asked for
//
// It pays if a sleep comes with fewer publications than a barrier costs fences, some hundreds. The sleeper cannot
// know, so it asks at once; a publisher takes FENCED away after 512 fences in a row for which nobody slept. A sleeper
// that finds that so does without for one sleep, then three, and up to 63, before it asks again, and fewer when its
// question was not in vain.
//
// # One or all
//
// Goroutines of one process stand in line for each Word (Sleeper), so a process has one sleeper for each handle. If several sleep, each
// wake is for one of them: an item is not worth a herd of processes. Who was woken and leaves wakes the next if there is
// still something (a batch, or what somebody did not take). Those who wait on one Word wait for the same thing, or a wake may
// reach one that it does not help. WakeAll is for what all must know.
//
// # Kills and stops
//
//	it stands                        killed                              stopped
//	publisher, before its look       sleepers sleep on until the next    the same
//	                                 publication, or the end of their
//	                                 sleep: a second at most
//	after taking one out of the      the same, without a flag: until     the same
//	state, before the wake           the sleep ends
//	several: before the wake         until the next publication, or      the same
//	                                 the sleep ends
//	after a wake that found nobody   a useless wake later                the same
//	sleeper, after its flag          one useless wake later              the same
//	after asking for FENCED          publishers fence until they have    the same; and one of them makes sure
//	                                 done so 512 times in vain
//	asleep                           nothing; a wake of one goes to      that wake is used up: others sleep on until the next
//	                                 another                             publication, or the end of their sleep
//	woken                            as before; a death ends sleeps      the same, without a death
//	                                 at once (futex.Kick)
//	publisher, before taking         FENCED stays a little longer        the same
//	FENCED away
//
// Nothing that was published is lost by any of that, and nobody waits for a stopped process longer than a sleep lasts.
//
// # Layout
//
// Of a Word, aligned to 128 bytes:
//
//	offset  size  field  written by                         ordering
//	0       4     state  sleepers, those who wake, join     CAS; publishers load it after each publication
//	4       124   (zero)
//
// Of a Bell: one word of 32 bits, anywhere; see there.
package wait
