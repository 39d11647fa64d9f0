// Package ring has lock-free rings over memory that the caller gives. Nothing here blocks, maps or frees.
//
// New… lays a ring out in zeroed memory, which must be aligned to 128 bytes (a shm.Block is), Open… checks and
// uses one that another process laid out. The memory must stay mapped for as long as the ring is used. Items
// are plain data: bools, numbers, arrays and structs of these.
//
// A ring whose shared bytes contradict themselves behaves as empty and full, and Err says so; so does an SPSC
// end that a push or pop found taken (ErrBusy). What another process writes into the memory can make the
// answers wrong, but cannot make a method panic, loop, or touch memory outside of what was given.
//
// # Protocol of SPSC
//
// A ring of S slots (a power of two) has two positions that only grow, modulo 2^64: tail, the next slot to
// fill, and head, the oldest filled one; position p lies in slot p mod S. Always 0 <= tail-head <= S. And it
// has two ends, the producer's and the consumer's, each with a claim that names the process that has it: its
// owner id (Peers.Self), or 0 for nobody.
//
//	claim   to      by                  when
//	0       self    one CAS (take)      Produce, Consume, or the first push or pop
//	dead    self    one CAS (take)      the same, and Peers.Dead(dead)
//	self    0       one CAS (release)   Close
//
// The claim is the only word that several processes compete for, and its CAS decides. Within the process the
// end belongs to the handle whose CAS succeeded: another handle there finds its own process in the claim, and
// that is ErrBusy as a stranger is. Whoever gets ErrBusy may ask again. Who has taken an end reads its position
// once from shared memory and from then on knows it better than the memory does. The owner of an end alone
// writes its position:
//
//	push: write the item at tail; publish tail+1        (release store; pairs with the consumer's load)
//	pop:  copy the item at head;  publish head+1        (release store; pairs with the producer's load)
//
// Batches, Commit and Advance do the same with n for 1. The other end's position is loaded when what was known
// of it is used up, and checked: a distance of more than S slots is corruption. What was known is kept in the
// process, not in the ring.
//
// Progress: push and pop are wait-free: one load of the other position and one store of one's own at most, and
// no loop. The first one also claims the end, which asks Peers whether its owner is dead.
//
// Where the owner of an end is killed, or stopped (for any time: stopped is not dead):
//
//	it stands                           killed                                  stopped
//	before the CAS of the claim         nothing happened                        nothing happened
//	after it, before the first item     the next owner takes the claim over     the end is ErrBusy for others
//	item written, tail not published    the item was never there; the next      the consumer finds the ring empty
//	                                    producer writes over it                 once it has popped the others
//	item copied, head not published     the next consumer gets the item again   the producer finds the ring full
//	                                                                            once it has filled the rest
//	position published                  done; a popped item is lost with        the end is ErrBusy for others
//	                                    its consumer
//	in a batch, not published           as for one item, the whole batch        as for one item
//	in Close, claim not yet freed       the next owner takes it over            the end is ErrBusy for others
//	in NewSPSC, magic not yet written   OpenSPSC finds no ring; NewSPSC         OpenSPSC finds no ring
//	                                    may be called again
//
// So nothing that was published is lost, and an item is delivered twice only if a consumer died between taking
// it and saying so. A stopped end delays the other only by what a full or an empty ring does.
//
// # Layout
//
// Of an SPSC; all numbers in the machine's byte order. Words that different sides write lie 128 bytes apart.
//
//	offset  size  field            written by               ordering
//	0       8     magic            NewSPSC                  stored last (release); Open loads it first (acquire)
//	8       4     version          NewSPSC                  format version, 1
//	12      4     (zero)
//	16      8     slots            NewSPSC                  a power of two
//	24      8     size             NewSPSC                  bytes of one item
//	32      8     hash             NewSPSC                  of the item's signature (package internal/layout)
//	40      88    (zero)
//	128     8     tail             the producer             release store; the consumer's acquire load
//	136     4     producer         who takes the end        CAS: owner id, 0 is nobody
//	140     116   (zero)
//	256     8     head             the consumer             release store; the producer's acquire load
//	264     4     consumer         who takes the end        CAS, as producer
//	268     116   (zero)
//	384     128   (reserved)                                the sleep word of consumers that wait for items
//	512     128   (reserved)                                the sleep word of producers that wait for room
//	640           the slots                                 slots * size bytes, packed as an array
//
// The magic is the eight characters "shl.spsc". The sleep words belong to package internal/wait and its users;
// the ring never touches them. They have lines of their own because publishers read them after every
// publication, and they are written only when somebody sleeps.
package ring
