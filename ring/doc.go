// Package ring has lock-free rings over memory that the caller gives. Nothing here blocks, maps or frees.
//
// New… lays a ring out in zeroed memory, which must be aligned to 128 bytes (a shm.Block is), Open… checks and uses
// one that another process laid out. The memory must be the ring's, and mapped, for as long as it is used: keep the
// shm.Block that it is of beside the ring, and use that once more after the last call (runtime.KeepAlive), for when
// no handle of a block is left and somebody has freed it, its memory becomes another object's. Items are plain data:
// bools, numbers, arrays and structs of these. Peers, who this process is and who is dead, is the block's
// shm.Segment.
//
//	SPSC       one producer, one consumer; the fastest; slots can be lent
//	MPMC       any number of both; first in, first out; whoever is killed or stopped delays nobody
//	Messages   an MPMC of messages of different lengths; one can be looked at before it is taken
//	Bytes      records of any length, many producers, one consumer; written and read in place
//	Broadcast  one producer, and readers that each see every item, or are told how many they lost
//
// A call that cannot go on says no, and Err says why if that is not for want of items or room. To wait, let those who
// publish change a word and wake who sleeps on it (package futex): who waits loads the word, tries once more, and
// sleeps while the word is as it was; who publishes adds to the word and wakes. An exact MPMC and Messages can be
// ended, for all at one instant. The other rings have no end of their own: say it by an Event, which is looked at
// before the last try.
//
// A ring whose shared bytes contradict themselves behaves as empty and full, and Err says so; so does an end that a
// push or pop found taken, and an MPMC whose cells are all taken (ErrBusy). What another process writes into the
// memory can make the answers wrong, but cannot make a method panic, loop, or touch memory outside of what was given.
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
// There is no other state and no other word that processes compete for: no head and no tail. (Exact rings have a mark
// beside the state, see below.) A position is filled only by who has seen its predecessor filled, and popped only by
// who has seen its predecessor popped, so both are contiguous: p filled means that all before p are filled. What each
// handle keeps for itself are two guesses: of the tail, a position whose predecessor it has seen filled, and of the
// head, one whose predecessor it has seen popped. These facts do not become false, so a guess may be behind and is
// never wrong.
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
//	self             dead      one CAS (reclaim)              the note has changed: the dead one had only left
//
// A handle takes a second cell, up to 16, only if several goroutines push by it at once, and no cell is taken to be
// kept once half of them are taken (of those who count at the same time a few more may keep one). Who has none and
// comes then borrows: it takes any free cell for one call of a push method, by the same CASes, and gives it back, as
// Close does, before it returns; at most 16 at once by one handle, so that the goroutines of a process which is
// stopped do not have all. So any number of processes can push, and ErrBusy is said only when some 64 are in the
// middle of it at the same moment, or stopped there. Close waits for those of its handle, for they are in the middle
// of a push, which takes no time: when it has returned none is under way, and the process can leave. To reclaim it is
// nothing if a cell goes from hand to hand between its two looks at the notes: a note that it finds again was
// written, or was there, after the deaths, by whomever, and then the block that it names as private was that cell's
// at that moment and not a dead one's.
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
//	in a batch                          as for the item that is under way; a    the same
//	                                    consumer's are lost with it, for its
//	                                    caller has seen none
//	with a cell, in a push or not       who needs a cell takes it over          the cell stays its own
//	in claim, after the CAS             the same; the note is {private, none}   the same
//	in Close, before the CAS            the same; the note is either            the same
//	in reclaim, after the first CAS     the same; the note is either            the same
//	in NewMPMC, magic not yet written   OpenMPMC finds no ring; NewMPMC         OpenMPMC finds no ring
//	                                    may be called again
//
// A process that has left (its segment is closed, so it is dead to others) and goes on to push finds that its cell was
// taken over when it looks: before it writes an item of its own or the first one of many, and before each note. What it
// does after a look can come after the take-over, and do harm: the item goes to a block that is another's by then, and
// spoils what lies there. The note says of the next owner what is not true, until that one pushes again; if it dies
// before, the next take-over goes wrong. And the CAS, which succeeds only if nobody has pushed meanwhile, puts into a
// slot a block that the next owner has too: from then on two items can be in one block, until the ring is made anew.
// Nothing of the kind can happen to a pop, nor in a ring of pairs. Nor in Close, or when it was just taking a cell over
// itself: there it changes notes by CAS from what they were when it last saw that the cell was its own, and that is not
// what the next owner has written.
//
// Progress: lock-free; wait-free when nobody else pushes (pops) at the same time.
//
// # Protocol of exact rings
//
// An MPMC that is to hold n items, for any n, and can be ended, has more than n slots, a power of two and at least 4,
// the limit n in its header, and in the word of each slot two bits more: the mark.
//
//	state of a slot     to                    by
//	{lap, EMPTY, 0}     {lap, FULL, 0}        one CAS, the push of position p, if it is known that p-n is popped
//	{lap, EMPTY, 0}     {lap, EMPTY, mark}    one CAS, the end, if p, the slot's position in that lap, is the tail
//	{lap, FULL, 0}      {lap+1, EMPTY, 0}     one CAS, the pop
//
// Limit. A push may rely on any head that it knows of, since the true one is not before it: roomTo, what each handle
// keeps, is such a head and n, and as long as p is before it there is no look at the head. The CAS succeeds only if p
// is still the tail, so there are never more than n. A push that finds p at roomTo seeks the head, and if it then
// says no there was an instant, when the position that it took for the head was seen not to be popped, at which the
// tail was p or beyond, and n items there: full. The slots are never all filled, so that of the tail is always EMPTY
// in the tail's lap, and there is a place for the mark.
//
// End. The mark stands in the one word that the next push must change from a value without it, so a push succeeds
// before the end or not at all, however long it was stopped before its CAS; and of two that end the ring one does.
// Nothing takes the mark away: the word it is in is never filled. Who pops comes to it at last, and finds it in the
// word that says that the ring is empty; others seek the tail (Mark). That p is the tail is what EMPTY in p's lap
// says, when p-1 was seen filled.
//
// Len looks at head, tail, head, tail, … until one of them is the same twice: then both were there when the one
// between the two looks was looked at. Each time that they are not, somebody has popped, and somebody pushed.
//
// A mark in a word that is FULL, or in one that is not the tail's, is written by nobody. If it is there, because
// somebody wrote into the memory, the ring may be ended, or a push and a pop of many find it corrupt.
//
// Where a process is killed, or stopped, beside what is said of an MPMC:
//
//	it stands                           killed                                  stopped
//	in End, before the CAS              the ring goes on                        the same; if others push it tries again
//	in End, after it                    the ring is ended                       the same
//	in a push, and another ends         the item was never there                it finds the mark, and says no
//	in a push with a borrowed cell      who needs a cell takes it over          the cell stays its own
//	in Close, which waits for pushes    as those pushes                         as those pushes
//
// # Protocol of Messages
//
// An exact ring of blocks, whose blocks have a head {length, kind} and as many bytes as a message may have. A push
// writes head and bytes into its private block, as MPMC's writes the item; to pop is to peek and to take:
//
//	peek: load the word of the slot of the head, {lap, FULL, X}; load the head of block X, once; if its length may be, copy
//	      so many bytes
//	take: CAS the word {lap, FULL, X} -> {lap+1, EMPTY, X}
//
// The ticket is the position and that word. If the take succeeds the word had not changed, for it does not come back
// (as in MPMC, before 2^55 messages), so X was in the slot all the time, nobody wrote to it, and what was copied was
// the message. Peeking changes nothing, so whoever is killed or stopped between the two has done nothing, and others
// peek and take that message. What one does with a message between peek and take has to bear that others do so too,
// and that it is of any bytes, if another takes it meanwhile and its block is written to; of what they refer to one
// must be the owner by a CAS of its own before it is used (shm.Segment.Claim is one), or take first. A length that
// cannot be, in a block that is still in the slot, is corruption.
//
// EachMessage goes over the slots, whoever pushes and pops, and reads the block of each that is FULL. That of a
// message which stays is not written to, so it is among them, whole.
//
// # Protocol of Broadcast
//
// A ring of S slots (a power of two) has one position that only grows, modulo 2^64: the tail, the next slot to
// fill. The producer's end has a claim with the same transitions as the ends of an SPSC. Each reader has a position
// of its own, between the tail and the tail less S, and the two kinds of ring differ in who sees to that.
//
// In a blocking ring the producer does. A reader has a cell, one word with the owner id of its process and its
// place, which is its position modulo 2^31 (so there are at most 2^30 slots). Being one word, it cannot name an
// owner without a place or a place without an owner, but for the mark of a reader that is joining.
//
//	push: write the item at the tail; publish tail+1               (release store; pairs with the readers' load)
//	pop:  copy the item at one's position; publish the next place  (release store; pairs with the producer's load)
//	look: store the tail (full barrier); load how many cells were ever used, and their words; the furthest behind
//	      of these says how much room there is
//	join: raise the number of used cells, if need be; CAS a free cell, or that of a dead reader, to {self, joining};
//	      load the tail; CAS {self, joining} to {self, tail}
//	leave: CAS {self, place} to 0
//
// The producer looks only when the room that it knew of is used up: readers only go forward, so that room was
// never too much. Nor do readers that join make it so. Say the producer looked when its tail was L and went on to
// L+S at most. If it did not see the cell of a reader, then it had loaded that word (or the number of used cells)
// before the reader's CAS; and had stored L before that; so the reader, which loads the tail after its CAS, begins
// at L or later, and nothing at L or later is written over before L+S is passed, for which the producer must look
// again. Both sides have a full barrier between their store and their load; the producer's, a locked instruction
// on amd64, is paid once a look, not once an item.
//
// If the producer does see the cell, its reader may be stopped, for any time, between loading the tail and its CAS:
// that tail may be laps ago. A producer that waited for it, or took the stale place for true, would be held up by
// what nobody reads; one that ignored it could overwrite what it is about to claim. So the producer gives it a
// place itself, by CAS: {owner, joining} to {owner, the producer's own tail}. Either CAS succeeds, and the other
// one fails: if the reader's does, nobody has looked at the cell since it was taken, and by the paragraph above its
// place is good; else it uses what it was given. So joining is wait-free, and a place is never further behind than S.
//
// If a look finds a reader S behind, there is no room. Then, and only then, the producer asks Peers whether that
// reader's process is dead, and evicts it by CAS from the word it saw to 0. It remembers a living one, and as long
// as that word is the same the next push looks no further. (A dead reader with room to spare does not matter yet.)
// Readers that join use free cells first, and else those of the dead.
//
// A process that has left its segment is dead to the others, though its readers may go on. Such a reader finds its
// cell changed, or the tail too far ahead, when it next looks at the tail, and stops with os.ErrClosed. What it has
// popped since it was evicted may be wrong. A place that it stores meanwhile is one of a dead owner, which the
// producer evicts when it is in the way, as it does with places that cannot be; but if somebody else has joined with
// that cell since then, the producer may not see that one until its next pop. So readers must be closed before the
// segment is, as the ends of an SPSC must.
//
// A blocking ring is linearizable for who learns of the end of a call by way of memory: a push fails if and only if
// some reader is S behind, a pop if and only if there is nothing. (By a clock alone it is not, as with an SPSC: what a
// push or pop publishes by an ordinary store may be on its way for some nanoseconds when it has returned.)
//
// In a lossy ring the reader sees to it. It writes nothing and has no cell; the producer knows of no readers and looks
// at nothing. Each slot has a turn, a number that says which position's item is in it, or is being written:
//
//	push: publish the turn "p is being written"; write the item; publish the turn "p is there"; publish p+1 as tail
//	pop:  load the turn; copy the item; load the turn again: if both say that p is there, so was the copy whole
//
// What is copied is words of 64 bits, each published and loaded atomically, so that on every architecture, and in the
// Go memory model, a word that was written after a turn is not seen without it. A copy that is not whole is thrown
// away, and bools are made valid in copies that are. A later turn means that the reader was overrun. Then it loads
// the tail, goes on with tail-S, or tail-S+1 if the producer is at the tail's slot, and counts what it passes over:
// that is exactly the number of items that it has lost. (The alternative is to check positions, one that says what
// the producer is about to overwrite and one that says what it has written, as Agrona's broadcast buffer does. Then
// slots are packed, but each pop loads a line that the producer writes with each push, and with many readers
// the producer waits for that line most of all. The turn lies beside the item, which must be loaded anyway, and
// readers do not load the tail unless they were overrun.)
//
// The turn is what publishes an item, and the tail follows: it tells joining and overrun readers, and the next
// producer, where the ring is. At most one item, that of the tail, can be shown and not yet counted. Readers may have
// seen it, so who takes the producer's end over counts it, and does not write it again; who joins begins behind it.
//
// Progress: push, pop, join and leave are wait-free. A push of a lossy ring never looks at anything but the claim, once
// in S items. A reader of a lossy ring that is overrun again while it copies tries some 16 times, the later ones
// nearer to the tail, and then finds nothing this time. Who looks in a blocking ring tries as often at a cell that
// changes under its eyes, and then finds no room this time.
//
// Where a process is killed, or stopped:
//
//	it stands                           killed                                  stopped
//	producer, before or after its       as with an SPSC                         as with an SPSC
//	claim, or in Close
//	blocking, item written, tail not    the item was never there; the next      readers find nothing once they have
//	                                    producer writes over it                 read the others
//	lossy, item being written           as above; readers wait at it as at      as above; the slot's former item is
//	                                    the end                                 lost for readers that had it before them
//	lossy, shown, not counted           done; the next producer counts it       done
//	while it looks, or evicts           each CAS is whole by itself             as a producer that does not push
//	reader that joins, cell taken       evicted when in the way, or its cell    holds the producer back once that has
//	                                    taken by who joins next                 looked at it and then filled the ring
//	place found                         the same                                as any stopped reader
//	reader, blocking, item copied       the item was or was not read, with it;  holds the producer back once that has
//	or lent, place not published        the same                                filled the ring
//	reader that leaves                  the same                                the same
//	reader, lossy, anywhere             nothing                                 is overrun
//	in NewBroadcast                     as in NewSPSC                           as in NewSPSC
//
// # Protocol of Bytes
//
// A ring of D descriptors (a power of two) lies beside an area of n bytes (a power of two). Positions of records,
// and of bytes, only grow, modulo 2^64; the record at position t has descriptor t mod D, and byte x lies in the area
// at x mod n. A descriptor has a word, whose bits and transitions are listed in bytes_word.go, and an end.
//
//	place(t) = end(t-1), or the next multiple of n if the record would not lie in one piece from there
//	end(t)   = place(t) + the length claimed, rounded up to a multiple of 8, at least 8
//
// So whoever knows end(t-1) and what t claims can say where t ends, and all say the same. It is said before t+1 is
// claimed, and before t is finished (committed or aborted).
//
//	claim:  look for the first t whose word is EMPTY in t's lap; end(t-1) is there, or is computed and put there by CAS;
//	        there must be room from the consumer's byte to end(t); CAS the word EMPTY -> CLAIMED, which takes position,
//	        room and length and names the claimer; CAS end(t) forward; write in place
//	commit: CAS the word CLAIMED -> COMMITTED, which has the length          (pairs with Next's load)
//	abort:  CAS the word CLAIMED -> ABORTED
//	        (both only while end(t) is what it was at the claim: words come again after 2,048 laps, ends do not, so to
//	        end a record twice ends no other)
//	next:   load the word at head. COMMITTED: there it is. ABORTED: pass. CLAIMED: if the claimer is dead, see that
//	        end(t) is there, CAS the word CLAIMED -> ABORTED, pass
//	pass:   publish where the next record begins (freed); publish head+1; store EMPTY of the next lap   (Advance too)
//
// Why a claim is right if its CAS succeeds: EMPTY words have the whole position, so t was EMPTY, and thus unclaimed, at
// that moment, however long the claimer had been stopped. Then all positions before t were claimed and t-1+D was
// not, so that what was read of the descriptor of t-1 since t's word was first seen EMPTY was about t-1. The CASes
// of ends compare 64-bit numbers that never return.
//
// Who produces has a cell: one for each handle that writes, taken from nobody or from a dead process by one CAS, which
// also counts the cell's generation up. A CLAIMED word names cell and generation, so a record is its claimer's
// only while the cell has that generation, that owner is alive, and has not left (owner 0). To take over a cell
// needs no search for what its last owner has left, and a process that is found dead and goes on nevertheless
// (it closed its segment) claims nothing that anybody takes for another's. Generations count modulo 2^16
// in words: if a cell is taken over exactly 65,536 times while one record waits that its owner did not finish, it
// counts as the new owner's, and waits for that one's end.
//
// The consumer's end is taken as that of an SPSC. Who takes it finds head and freed, and perhaps a pass that is not
// done: freed is ahead of head, which shows by end(head) being freed; or the word before head is not EMPTY yet. It
// does the rest first.
//
// Where a process is killed, or stopped:
//
//	a producer stands                    killed                                   stopped
//	before the CAS of the claim          nothing happened                         nothing happened
//	after it, end(t) not said            the consumer passes over the record      records behind it are not read; the
//	                                     once it comes there; who claims next     next claimer says where it ends, and
//	                                     says where it ends                       others write while there is room
//	end(t) said, not committed           the consumer passes over the record      records behind it are not read
//	committed or aborted                 done                                     nothing is held up
//	in TryWrite's or Close's CAS of      the cell is free, or a dead process's    the cell is taken
//	the cell
//
//	a consumer stands
//	after taking the end                 the next one takes it over               the end is ErrBusy for others; the
//	                                                                              ring fills up
//	after Next, before Advance           the next one gets the record again       the same
//	in a tombstone, end(t) said          the next one does it again               the same
//	in pass, freed published             the next one does the rest; the record   the same; the bytes are free, the
//	                                     does not come again                      descriptor is not yet
//	in pass, head published              the same                                 the same
//	EMPTY stored                         done                                     the same
//
// Claims are lock-free. They begin at a hint: what this handle has claimed last, or what some producer has published
// in the header, every 64 claims, by an ordinary store, so that one that was stopped may take it back. Wrong hints
// cost a walk over at most D descriptors. All else is wait-free: Next passes over at most D tombstones, looks at a
// claimed record a few times more before it asks for its claimer, and does not wait for it.
//
// The consumer frees by ordinary stores, so a claim that begins when Advance has just returned on another CPU may
// still find the ring full. As in an SPSC, a ring that is waited for needs a barrier between the two (package
// internal/wait).
//
// # Memory order
//
// On amd64 loads stay in order, and so do stores; a compare-and-swap is a full barrier. On arm64 the loads, stores
// and compare-and-swaps of shared words are LDAR, STLR, and CASAL or a loop of LDAXR and STLXR (go tool objdump shows
// it of a test that was built with GOARCH=arm64), and 16 bytes at once are a loop of LDAXP and STLXP; items are
// copied by plain loads and stores. What the protocols need of these:
//
//   - An item is written, then published: by STLR, or by the store of a compare-and-swap, which come after what was written before.
//   - A position, or the word of a slot, is loaded, then the item read: nothing after an LDAR is done before it.
//   - An item is read, then its slot given back: an STLR comes after the loads before it, too. So does the store of the
//     compare-and-swap by which an MPMC's pop finds out that its copy was whole. Its load may come before the last loads
//     of the copy, but between the two nobody else has changed the slot, or else the store does not happen.
//   - A word is stored, then another one looked at (a Broadcast's look and join): an STLR, or the STLXR of a compare-and-swap, and an LDAR
//     after it stay in order. A plain load after it would not.
//   - Something is written after a compare-and-swap that allows it (to the block that a push got): a store is not done before
//     it is known that it will be.
//
// # Layout of SPSC
//
// All numbers in the machine's byte order. Words that different sides write lie 128 bytes apart.
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
// # Layout of MPMC
//
//	offset  size  field            written by               ordering
//	0       8     magic            NewMPMC                  stored last (release); OpenMPMC loads it first (acquire)
//	8       4     version          NewMPMC                  format version, 2
//	12      4     form             NewMPMC                  1: blocks, 2: pairs, 3: messages, in blocks (NewMessages)
//	16      8     slots            NewMPMC                  S, a power of two; at most 2^31 in a ring of blocks; at least 4 in an exact one
//	24      8     size             NewMPMC                  bytes of one item; at most 8 in a ring of pairs; of messages the most bytes
//	32      8     hash             NewMPMC                  of the item's signature (package internal/layout); 0 of messages
//	40      8     limit            NewMPMC                  the most items of an exact ring, at least 1 and less than S; else 0
//	48      80    (zero)
//	128     128   (reserved)                                the sleep word of consumers that wait for items
//	256     128   (reserved)                                the sleep word of producers that wait for room
//
// and of pairs, with k for log2 S:
//
//	384           the slots                                 S * 16 bytes
//	+0      8     lap, FULL, zero  producers and consumers  CAS; bits k+1 to 63, k, and 0 to k-1; of an exact ring the mark in 0 and 1
//	+8      8     item             producers                CAS, together with the other word
//
// and of blocks, with b for the number of bits of S+127:
//
//	384     8192  the cells                                 128 of 64 bytes
//	+0      8     note             the cell's owner         release store before the CAS of the slot;
//	                                                        have in the upper half, want or 2^32-1 in the lower
//	+8      4     owner            who takes the cell       CAS: owner id, 0 is nobody
//	8576          the slots                                 S * 8 bytes
//	+0      8     lap, FULL, block producers and consumers  CAS; bits b+1 to 63, b, and 0 to b-1; of an exact ring, and of messages,
//	                                                        bits b+3 to 63, b+2, and 0 to b-1, and the mark in b and b+1
//	              the blocks                                from the next multiple of 128 on, S+128 of size, packed
//
// A block of messages is 8 bytes and size, rounded up to a multiple of 8:
//
//	+0      4     length           who has the block        plain, before the CAS of the slot; at most size
//	+4      4     kind             who has the block        plain; means what its users agree on
//	+8            the bytes        who has the block        length bytes; what is behind them means nothing
//
// The magic is the eight characters "shl.mpmc". At first slot i is {0, EMPTY}, with block i, and cell i has {S+i, none}.
// An item of less than 8 bytes lies in the first bytes of its word; the others are zero.
//
// # Layout of Bytes
//
// As above.
//
//	offset  size  field            written by               ordering
//	0       8     magic            NewBytes                 stored last (release); Open loads it first (acquire)
//	8       4     version          NewBytes                 format version, 1
//	12      4     (zero)
//	16      8     room             NewBytes                 n, a power of two, 64 to 2^34
//	24      8     slots            NewBytes                 D, a power of two, 16 to 65,536
//	32      96    (zero)
//	128     8     tail             producers                a hint: at most the next position to claim; release store
//	136     120   (zero)
//	256     8     head             the consumer             release store; acquire loads of producers
//	264     8     freed            the consumer             byte; release store; acquire loads of producers
//	272     4     consumer         who takes the end        CAS: owner id, 0 is nobody
//	276     108   (zero)
//	384     128   (reserved)                                the sleep word of the consumer that waits for records
//	512     128   (reserved)                                the sleep word of producers that wait for room
//	640     1024  cells            who writes               128 of {generation << 32, owner id}: CAS
//	1664    16 D  descriptors      see bytes_word.go        {word: CAS, and the consumer's release store; end: CAS}
//	              the area                                  n bytes
//
// The magic is the eight characters "shl.byte". All is zero in a new ring but what NewBytes writes. NewBytes makes
// D n/64, but at least 16 and at most 65,536.
//
// # Layout of Broadcast
//
//	offset     size  field         written by               ordering
//	0          8     magic         NewBroadcast             as of an SPSC; "shl.bcst"
//	8          4     version       NewBroadcast             format version, 1
//	12         4     kind          NewBroadcast             0 blocking, 1 lossy
//	16         8     slots         NewBroadcast             S, a power of two, at most 2^30
//	24         8     size          NewBroadcast             bytes of one item
//	32         8     hash          NewBroadcast             of the item's signature (package internal/layout)
//	40         4     cells         NewBroadcast             C; 1 to 65536, and 0 if lossy
//	44         84    (zero)
//	128        8     tail          the producer             release store, at each look a full barrier; acquire load
//	136        4     producer      who takes the end        CAS: owner id, 0 is nobody
//	140        116   (zero)
//	256        4     used          who joins                CAS; so many cells from the first on were ever taken
//	260        124   (zero)
//	384        128   (reserved)                             the sleep word of readers that wait for items
//	512        128   (reserved)                             the sleep word of a producer that waits for room
//	640        128*C the cells                              128 bytes each
//	640+128*C        the slots
//
// A cell is one word of 64 bits, and zero after it: the owner id in bits 32 to 63 (0 is a free cell), joining in bit
// 31, and else the place, the reader's position modulo 2^31, in bits 0 to 30. It is changed by CAS from nobody or a
// dead owner to {owner, joining}, by CAS from there to a place, by release stores of its reader from place to place,
// and by CAS to 0.
//
// The slots of a blocking ring are S items, packed as an array. A slot of a lossy ring is 8 bytes of turn and an item,
// padded with zeroes to a multiple of 8 bytes. Of slot s the turn is 2*(p-s+S) modulo 2^64 if the item of position p is
// there, one less while it is being written, and so 0 if there never was one.
package ring
