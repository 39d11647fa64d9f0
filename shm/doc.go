// Package shm gives segments of shared memory and the typed, named objects that live in them.
//
// A segment is memory that several processes map, with an allocator, a directory of names and a table of the
// processes that have it. [Anonymous] makes one without a name: children get it through the objects in their
// arguments (package process). [Create], [Open] and [OpenOrCreate] are for processes that know nothing of
// each other but a name; docs/OPERATIONS.md tells whoever runs them what there is to know. Objects (locks,
// values, arrays, blocks) are made by the packages that know their kind.
//
// All of it is lock-free: a process that is killed or stopped at any instruction holds nobody up here and
// harms nothing (one that is stopped while it takes a name away can hold up others at that name, see
// docs/OPERATIONS.md). Who notices a death sweeps up after it: what the dead process was making, had
// allocated, or had open among what was freed, becomes free memory. A stopped process keeps that.
//
// An object lives until it is freed ([Free], [Segment.Remove]), like a file; its memory is used again when nobody
// who lives has it open. Handles give it up when the garbage collector finds them, also those that were closed, so
// what is freed adds up between two of its runs. A full segment makes it run, but only in the process that finds it
// full: what others had open stays until their garbage collectors run by themselves, which those of processes that
// allocate little seldom do. So objects that go from hand to hand (the queue for a reply, in each request) are better
// made once and used again. An object without a name that nobody freed stays until the segment goes.
//
// Who makes and frees many objects gives the segment room for several times what is in use at a time: in one that is
// nearly full all blocks are looked at for each new object. Memory that [Segment.Deallocate] gives back waits for no
// garbage collector.
//
// The heap serves a request from blocks of its class of sizes; of a block at most an eighth is wasted, beside 128
// bytes for its header and up to 127 to fill its last unit. Memory of small objects does not become that of large
// ones.
//
// Processes that have a segment watch each other: when one dies, however that happens, all others know it soon
// after, and who waits for it is told. That costs a process two descriptors for each segment that it shares, and one
// thread in all; a segment that nobody else has costs nothing.
//
// [Segment.Check] verifies all of what follows, in a segment that is in use.
//
// A handle may arrive in a process that does not have its segment. It is looked for in that process, among what the
// parent handed over, and then by asking the processes of the tree (package process), any of which may have it; else it
// is [ErrUnreachable]. Who is asked gives a participant, as to a child, and need not be waited for: one that is stopped
// makes the asker wait for some seconds, and the error says so.
//
// A process that C or Python forks, without exec, from one that has segments must not touch them: it would pass for its
// parent. It does not have the memory (Linux faults where it was, also in the methods of locks and values that have no
// error for it); what makes, opens or closes something returns [ErrForked] there (Linux 4.14), and lets go of what binds
// its parent's life. Until its first such call, or its exec or end, the parent seems to live although it was killed, but
// to those of its pid namespace, once it was waited for. Go itself does not promise that anything works in a forked
// process: what another thread of the runtime held in that moment stays held.
//
// Linux only at present (3.17; /proc must be mounted where segments are made); elsewhere the constructors
// return errors.ErrUnsupported, and so they do on big-endian machines.
//
// # Layout
//
// All numbers are little-endian; docs/LAYOUT.md has the same for other languages, with the protocols.
// "creator" writes before the segment, or the object, can be seen by others.
//
//	segment
//	0       8       magic "SHOAL" ff 0d 0a    creator
//	8       4       format version, 1         creator
//	12      4       flags: 1, it has a name   creator
//	16      8       size                      creator
//	24      16      UUID                      creator
//	40      8       created, ns since 1970    creator
//	48      4       creator's owner id        creator
//	52      4       creator's pid             creator
//	56      8       offset of the heap        creator
//	128     4       slots used                who claims a slot; CAS, grows
//	136     8       slots freed, a clock      who frees a slot; add
//	256     4       death epoch, futex word   who notices a death; add
//	384     8       top of the heap           who lays a block, or finds one laid; CAS, grows
//	512     8       committed                 who reserved memory; CAS
//	3840    256     name, zero padded         creator
//	4096    8192    1,024 buckets             who links an object; CAS
//	12288   16384   256 x 8 hints             who finds or frees a block
//	28672   524288  4,096 slots of 128        the participants, see below
//	552960          heap                      blocks in a row, multiples of 128
//
//	slot
//	0       4       generation<<12 | state    see participant.go; CAS
//	4       4       doorbell, futex word      who joins behind it; add
//	8       8       owner id<<32 | pid        the participant, or its parent, last
//	16      8       pid namespace (inode)     the same
//	24      8       since, ns since 1970      the same
//	32      8       stamp of its last freeing who frees it, before the state
//	40      8       payload of its table of waits, 0: none    the participant, once; 0 before 8 is written
//
//	table of waits, 64 entries of 24 in memory of the participant, see waits.go
//	0       8       offset of the object's block, 0: no wait  the participant, last
//	8       8       since, ns since 1970                      the same
//	16      8       tag of an owner within it, or 0           the same
//
//	block
//	0       8       owner id<<32 | units      who lays it; CAS from 0; who splits it
//	8       8       owner id<<32 | generation<<4 | state    see heap.go; CAS
//	16      8       next in the bucket        see directory.go; CAS
//	24      8       structural type hash      creator
//	32      8       kind, ASCII, zero padded  creator
//	40      8       size of the payload       creator
//	48      2       length of the name        creator
//	50      2       length of the type's name creator
//	52      1       type code                 creator
//	56      8       created, ns since 1970    creator
//	64      4       creator's owner id        creator
//	68      4       creator's pid             creator
//	72      8       more of 96                who needs it; CAS from 0, once
//	80      16      owner words: at, count, stride, class   creator
//	96      32      owner ids of those who have it open   they; CAS
//	128             payload, then the name, then the type's name
package shm
