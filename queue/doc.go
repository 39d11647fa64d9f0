// Package queue has Python's queues in shared memory, for any number of producers and consumers in any processes.
//
//	jobs, err := queue.New[Job](seg, "jobs", 64)      // or queue.Open, in another process; or as an argument of process.Start
//	err = jobs.Put(ctx, Job{...})
//	job, err := jobs.Get(ctx)
//	for job, err := range jobs.All(ctx) { ... }       // until Shutdown
//
// There is no feeder and nothing to flush: what Put accepted is in shared memory when it returns. A queue is no resource of the process
// that made it; it stays until it is freed (shm.Free, Segment.Remove) or its segment goes.
//
// # Protocol
//
// A queue is a ring (package ring) with a limit, and three sleep words (package internal/wait): who finds it empty sleeps on one, who finds
// it full on another, and who joins on the third. Whoever has changed what another may wait for wakes; while nobody sleeps that is a load.
//
// Items of plain data of up to a slot's size lie in the ring as they are (ring.MPMC). Others are encoded, and are messages (ring.Messages).
// An encoded item that does not fit into a slot lies in memory of the segment, and the message says where:
//
//	put     allocate, encode into it; Pass it through the queue, which gives a stamp; push the message {offset, length, stamp}
//	get     peek at the oldest message; see that it is there still, and so the copy is whole; Claim what it says; take the message;
//	        decode; deallocate
//
// Who claims has the item, and at most one does (shm.Segment.Claim). The message is taken after that: so a message whose item is claimed
// already is one whose consumer is about to take it, was stopped, or died. Whoever meets it takes it away and goes on. The message
// never outlives the item without somebody noticing, and a stamp is never told twice, so the stamp in a copy of a message that
// was taken meanwhile claims nothing (but after 2^28 uses of the same block during one peek).
//
// A queue without a bound is a chain of rings, each larger than the one before. Who finds the last one full makes the next, names it in the
// header by one CAS, and ends the full one with the mark "more" (ring.MPMC.End): after that mark nothing is pushed there. Who gets goes on to the
// next ring when he has seen the mark and then nothing. So all of a ring comes before all of the next one, and "empty" is said of
// the last ring only. Shutdown is the mark "shut down" at the end of the last ring.
//
// A queue that counts (JoinableQueue) has a hand for each participant of the segment: how many items it has got and is not done with, and how many
// it is busy with: about to take, or to be done with. And one number for all: how many items were done with.
//
//	get       busy+1; pop; hand+1 if there was something; busy-1
//	done      busy+1; hand-1, its own or another's; done+1; busy-1
//	drained   note how many were ever pushed; find the queue empty; then of each that lives busy 0, and then hand 0; then of all
//	          busy 0 once more; note done; and see that nothing was pushed since
//
// From when the queue is found empty nothing is taken any more, or the last look finds that something was put. What was taken before is
// in a hand, or somebody is busy with it, until it is counted as done. (Who is done with what another has in hand may be looked at before
// it begins, and that other one after; hence the second look at all who are busy.) What a get is about to take is not in hand: else a
// TaskDone for another's item could take that for it. Hands of the dead do not count. What they had is the difference between
// the items that were ever pushed and those that were done with, when the queue is drained: that is exact, whatever they were doing.
//
// In rings a process is dead when it cannot be at work in them any more (shm.Segment.Gone): one that closes its segment during a put
// keeps its cells until then.
//
// Where a process is killed, or stopped (for any time):
//
//	it stands                              killed                                     stopped
//	in a put, before the ring's CAS        the item was never put; its memory is      nothing is held up
//	                                       swept up (shm/pass.go)
//	after it, before the wake              the item is there; who sleeps wakes at     it is there; who sleeps wakes at the next put, or
//	                                       the death                                  after a second at most
//	in a get, before the CAS of ring       the item is still there                    others get it; Join waits, as for any
//	or claim                                                                          item in hand
//	after it                               the item is lost, and in a queue that      the item is its own
//	                                       counts told by Join
//	between claim and take                 the next one takes the message away; the   the same
//	                                       memory is swept up
//	making a ring, not yet named           the ring is swept up; others make one      others make one, and go on
//	ring named, the full one not ended     whoever finds it full ends it              the same
//	in done, before done+1                 the item counts as lost                    Join waits, as for any item in hand
//	after it                               the item is dealt with                     the same, until it goes on
//	in Shutdown, before the mark           the queue goes on                          the same
//	after it, before waking                who sleeps wakes at the death              who sleeps wakes after a second at most
//	in New                                 there is no queue                          there is none yet
//
// # Layout
//
// See package internal/queued, or docs/LAYOUT.md.
package queue
