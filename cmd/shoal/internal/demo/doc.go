// Package demo is the job of shoal demo: several processes count the words of a tree of files through shared
// memory, then one process counts them again alone, and the two answers are compared.
//
// All that is shared lies in one anonymous segment:
//
//	window    a shm.Block: the texts. The parent reads each file once, straight into it, and nobody copies it again.
//	deals     per worker a link, a ring that blocks: which ranges of the window are the worker's
//	back      per worker a link: what it has done, and at the end its word table
//	accounts  the totals, the histogram of word lengths and how many ranges of each worker are in them, all under
//	          one locks.Lock: a range changes them under one hold, so they never disagree
//
// The parent (type dealer) gives each range to the worker with the least to do, and reuses a text's room in
// the window when its last range has been counted. A worker (type worker) is a registered function in a
// process of the same executable. When anything fails, the context of all ends, all workers are joined, and
// the first failure that is not a consequence of another one is reported.
//
// # When a worker is killed
//
// That is no failure: another one takes its seat. What becomes of a range that it had depends on how far it was,
// which type accounts decides, however the death and a change of the accounts came together:
//
//	state      its text               its totals       its words              after the death
//	dealt      in the window          -                -                      dealt again
//	counted    in the window          in the accounts  in the dead process    dealt again for its words alone
//	reported   perhaps gone           in the accounts  in the dead process    read and dealt again for its words alone
//	delivered  perhaps gone           in the accounts  with the parent        -
//
// A worker counts its ranges in the order in which they were dealt, and the accounts have for each seat how many
// there are: this tells the first state from the second. It reports what it has counted, by records in the ring
// back, when that is worth a change of processes: the parent then knows that the room in the window is free. It
// delivers all words at once, at its end, because a frequent word is then sent once and not once for each
// range: what that costs in the rare case of a death is to count the words of some ranges twice, and never to
// add them to the totals twice. The half of a table that a killed worker had sent is thrown away.
//
// The successor gets rings of its own, and in them at once what the dead worker had not reported. What must be
// read again is dealt when all files have been, to whoever has least to do; for that reason the parent waits for
// all tables before it ends. A worker that is stopped is waited for: nobody can tell it from a slow one.
package demo
