// Package parking puts the goroutines of this process to sleep on words in shared memory: package futex, and
// what waits in this module, are thin over it. However many goroutines wait, the process stays below 128
// threads.
//
// # Lines
//
// Goroutines of one process that want the same lock stand in line (Enter), on channels; only the first looks
// at the word and sleeps on it. So a wake lets one goroutine look, not a herd.
//
// # Ways to sleep
//
// Wait sleeps in the first of these ways that has room:
//
//   - directly: the goroutine blocks in the kernel, on the word alone for the first 5 ms, then (futex_waitv,
//     Linux 5.16) on {a word of its own, the word}, so that this process can end the sleep. 24 goroutines at
//     most do, 16 of them for longer than those 5 ms, so that short waits find room at any time; and a wait
//     that has lasted a second goes on in the next way. Without futex_waitv the sleep is on the word alone,
//     is ended by waking all who sleep there, and lasts 50 ms at most.
//   - on the ring, where io_uring is allowed and has futexes (Linux 6.7): each word has a wait of its own in
//     the kernel, up to 16,384 of them, which needs no thread; a goroutine in the netpoller learns of its
//     end. The ring is made when it is first needed, and goes a second after it was left by all. What it
//     cannot take goes the next way.
//   - in a group: a thread sleeps on {its own word, up to 127 words}, and the goroutines on channels. There
//     are 80 groups at most. The first that has room is filled first, and nobody sleeps for longer than a
//     minute before it enters anew, so groups that were left by most become empty, and end.
//   - polled: one goroutine looks at all other words, every 1 to 16 ms, and rarely enough to use 1% of one
//     CPU at most.
//
// With one processor (GOMAXPROCS=1) Wait lets the other goroutines run before it sleeps: in the kernel it
// would keep the processor from them until the runtime notices. Two goroutines that take turns then never
// sleep in the kernel.
//
// # Entries
//
// The ring, groups, and who polls look after entries: a word and the value with which its goroutines came
// (never one that was read later: between the two a wake may have been meant for them). Those who come with
// the same word and value share an entry and go on together; no herd arises, because who wants a lock stands
// in line.
//
//	live   -> ended   release: the word was woken or differs; all go on
//	live   -> ended   the last goroutine left: cancelled, its deadline passed, its wait is over, or kicked
//
// An entry that has ended is never live again; who comes after that makes another one. Only the goroutine of
// the ring or of a group takes ended entries out of it, after which nobody knows them. A goroutine in an
// entry is taken out once, by itself (it leaves) or by another goroutine, which sends to its channel. If it
// meant to leave and was taken out before, it counts as woken.
//
// What protects what: the table of lines, entries and direct sleepers is in shards by word, each with a
// mutex, which guards the lists in them, the entries' goroutines included. Questions (over) are asked under
// it: they look at memory only. The list of groups and what they contain have a mutex of their own, and so
// has the ring; either may be taken under a shard's, and nothing under them. own of a group and ended of an
// entry are atomic.
//
// # Why no wake is lost
//
// Who wakes changes the word first. The kernel compares each word with its entry's value when it goes to
// sleep and returns when one differs; so a change before the sleep is noticed, and a wake after it ends the
// sleep. Who joins an entry that sleeps already looks at the word once more, as the kernel does not. The
// kernel names the last word that was woken, and no other; so after each sleep the group looks at all of
// them. A word that is as it was, though it was woken, says what it said when its goroutines decided to
// sleep; they sleep on.
//
// Who joins or ends an entry does so first and then sets own to 1 and wakes it; the group sets own to 0 first
// and then takes what there is. One of the two sees the other: own is among the words that the kernel
// compares.
//
// An entry that ended while its thread was in the kernel may have used up a wake that was meant for another
// process, or for the next entry with the same word. Its group passes one wake on for each such entry after
// the sleep, by address. Whoever was the last to leave the entry, or was let go by a Kick, waits for that: until
// then the memory is there, and a wake that comes after it finds nothing of the entry in the kernel. An entry
// that ends while the group is not in the kernel has used up nothing. The group looks at the words of live
// entries only, under the mutex of the shard.
//
// On the ring the kernel says of each wait how it ended, once: woken, or not begun because the word was
// another, or cancelled, which it is before who leaves, or was let go by a Kick, returns; so no wait is on
// memory that is gone. If an entry ended and its wait says that it was woken, that wake is passed on. A wait
// ends, too, with the thread that began it (threads of Go seldom end): then its goroutines look again.
//
// Who sleeps directly on two words has its own first. If a wake and an interruption meet, the kernel names
// the last, which is the word; so the wait says that it was woken.
//
// A polled word has no sleeper in the kernel, and its wakes find nobody: what is noticed is the change. Those
// who take such a wake for a sign that nobody waits take their mark out of the word, which is a change.
//
// # What is spurious
//
// Nil from Wait says "look again". It comes without a change: after a second, or a minute (a sleep with
// a question), at a Kick, when a wake that was passed on found somebody, and when the kernel refuses a word, to
// all of its group. The end of each sleep by time is the safety net for processes that were stopped between
// their store and their wake; groups look at all words once a second for that, and ask, without waking a
// goroutine.
package parking
