// Package ring has lock-free rings over memory that the caller gives. Nothing here blocks, maps or frees.
//
// New… lays a ring out in zeroed memory, which must be aligned to 128 bytes (a shm.Block is), Open… checks and
// uses one that another process laid out. The memory must stay mapped for as long as the ring is used. Items
// are plain data: bools, numbers, arrays and structs of these.
//
// A ring whose shared bytes contradict themselves behaves as empty and full, and Err says so; so does an SPSC
// end that a push or pop found taken, and an MPMC whose cells are all taken (ErrBusy). What another process writes into the memory can make the
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
// # Protocol of MPMC
//
// A ring of S slots (a power of two). Position p, which only grows, lies in slot p mod S at lap p / S. The word of a
// slot says which lap it is at, and whether it is filled:
//
//	state of a slot     to                    by
//	{lap, EMPTY}        {lap, FULL}           one CAS, the push of position lap*S + slot
//	{lap, FULL}         {lap+1, EMPTY}        one CAS, the pop of that position
//
// There is no other state and no other word that processes compete for: no head and no tail. A position is filled
// only by who has seen its predecessor filled, and popped only by who has seen its predecessor popped, so both are
// contiguous: p filled means that all before p are filled. What each handle keeps for itself are two guesses: of the
// tail, a position whose predecessor it has seen filled, and of the head, one whose predecessor it has seen popped.
// These facts do not become false, so a guess may be behind and is never wrong.
//
//	slot of p, p-1 being filled      it is {lap of p, EMPTY}: p is the tail. CAS; if that fails p was filled just now
//	                                 it is {lap of p - 1, FULL}: p - S is not popped and p is the tail or before it:
//	                                 the ring is full, at the load
//	                                 it is beyond {lap of p, EMPTY}: p is filled, look further on
//	slot of p, p-1 being popped      it is {lap of p, FULL}: p is the head. Read the item, CAS
//	                                 it is {lap of p, EMPTY}: all before p are popped, p is not filled: the ring is
//	                                 empty, at the load
//	                                 it is beyond {lap of p, FULL}: p is popped, look further on
//
// Anything else is corruption. Who is far behind takes as many laps at once as the slot is ahead, and finds the rest
// by galloping and halving. So a push takes effect at its CAS, a pop at its, and a no at a load: that is
// linearizability. Laps are compared by the sign of their difference and wrap around; as many bits of the word as are
// not needed otherwise count them, together with the slot 55 bits of a position at least. A process that is stopped
// between its load and its CAS for exactly that many items (22 years, at 20 ns) would be fooled.
//
// The two forms differ in where the items are.
//
// Pairs: a slot is two words, and the second one is the item, of up to 8 bytes. A push changes both at once
// (CMPXCHG16B; LDAXP and STLXP). A pop reads the item and then changes the first one: as long as that had not changed
// the second one had not either. Nobody owns anything, so there is nothing to clean up after the dead.
//
// Blocks: the word of a slot also names one of S+128 blocks, each for one item. S of them lie in the slots, in both
// states; each of the 128 cells has one more, its private block. Where that is stands in the cell's note.
//
//	push: write the item into the private block B; note {B, X}, X being the block in the slot (release store);
//	      CAS the slot {lap, EMPTY, X} -> {lap, FULL, B}; now X is private
//	pop:  copy the item out of the block X of the slot; CAS the slot {lap, FULL, X} -> {lap+1, EMPTY, X}.
//	      If it fails the copy is thrown away: the item was popped, and its block may have been written to again
//
// The note {B, X} says: if the CAS succeeded X is the cell's, else B. The next push writes the next one. {B, none} says
// that B is the cell's.
//
//	owner of a cell  to        by                             when
//	0                self      one CAS (claim)                a push of a process that has no cell, or none to spare
//	self             0         one CAS (give back), after     Close
//	                           the note {private, none}
//	dead             self      one CAS (reclaim)              no cell is free, Peers.Dead(dead), and it is known which
//	                                                          block is private
//	self             0         one CAS (reclaim), after       at once
//	                           the note {private, none}
//
// A process takes a second cell, up to 16, only if several of its goroutines push at once, and if half of all cells
// are free.
//
// Which of its two blocks a dead cell has is found by seeing the other one elsewhere, after the death: in a slot, or
// with another cell. reclaim reads all notes, then all slots, then all notes again, and goes by notes that were the
// same both times: whoever has one block of such a note elsewhere proves that the cell had the other one, at that
// moment, which then is elsewhere for all other cells. (A living producer that wrote the same note again in between
// had seen the one block in a slot and had the other one, after the deaths; so both are elsewhere for the dead.) While
// nobody pushes this always finds all. Assume that it stopped with cells c whose both blocks are in no slot. Each has
// one, x(c); the other, y(c), is with another such cell, d(c). Whether c's push succeeded, and c gave y(c) away when it
// took x(c), or not, and it had x(c) when it saw y(c) in a slot: d(c) took its block after c took its own. So following
// d never comes back, but there are only 128 cells. While others push it may leave a cell for later, and takes another.
//
// Where a process is killed, or stopped (for any time):
//
//	it stands                           killed                                  stopped
//	anywhere in a push before the CAS   the item was never there                others push and pop
//	after the CAS of a push             the item is there                       the same
//	anywhere in a pop before the CAS    the item is still there                 others pop it
//	after the CAS of a pop              the item is lost with its consumer      the same
//	in a batch                          as for the item that is under way       the same
//	with a cell, in a push or not       who needs a cell takes it over          the cell stays its own
//	in claim, after the CAS             the same; the note is {private, none}   the same
//	in Close, before the CAS            the same; the note is either            the same
//	in reclaim, after the first CAS     the same; the note is either            the same
//	in NewMPMC, magic not yet written   OpenMPMC finds no ring; NewMPMC         OpenMPMC finds no ring
//	                                    may be called again
//
// A process that has left (its segment is closed, so it is dead to others) and goes on to push finds that its cell was
// taken over when it looks, before each push. It does not look again during a push: one that was under way when the
// cell was taken over can write to a block that is another's by then. Nothing of the kind can happen to a pop, nor in
// a ring of pairs.
//
// Progress: lock-free; wait-free when nobody else pushes (pops) at the same time.
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
//
// Of an MPMC:
//
//	offset  size  field            written by               ordering
//	0       8     magic            NewMPMC                  stored last (release); OpenMPMC loads it first (acquire)
//	8       4     version          NewMPMC                  format version, 1
//	12      4     form             NewMPMC                  1: blocks, 2: pairs
//	16      8     slots            NewMPMC                  S, a power of two; at most 2^31 in a ring of blocks
//	24      8     size             NewMPMC                  bytes of one item; at most 8 in a ring of pairs
//	32      8     hash             NewMPMC                  of the item's signature (package internal/layout)
//	40      88    (zero)
//	128     128   (reserved)                                the sleep word of consumers that wait for items
//	256     128   (reserved)                                the sleep word of producers that wait for room
//
// and of pairs, with k for log2 S:
//
//	384           the slots                                 S * 16 bytes
//	+0      8     lap, FULL, zero  producers and consumers  CAS; bits k+1 to 63, k, and 0 to k-1
//	+8      8     item             producers                CAS, together with the other word
//
// and of blocks, with b for the number of bits of S+127:
//
//	384     8192  the cells                                 128 of 64 bytes
//	+0      8     note             the cell's owner         release store before the CAS of the slot;
//	                                                        have in the upper half, want or 2^32-1 in the lower
//	+8      4     owner            who takes the cell       CAS: owner id, 0 is nobody
//	8576          the slots                                 S * 8 bytes
//	+0      8     lap, FULL, block producers and consumers  CAS; bits b+1 to 63, b, and 0 to b-1
//	              the blocks                                from the next multiple of 128 on, S+128 of size, packed
//
// The magic is the eight characters "shl.mpmc". At first slot i is {0, EMPTY}, with block i, and cell i has {S+i, none}.
// An item of less than 8 bytes lies in the first bytes of its word; the others are zero.
package ring
