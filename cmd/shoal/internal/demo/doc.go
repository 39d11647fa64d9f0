// Package demo is the job of shoal demo: several processes count the words of a tree of files through shared
// memory, then one process counts them again alone, and the two answers are compared.
//
// All that is shared lies in one anonymous segment:
//
//	window   a shm.Block: the texts. The parent reads each file once, straight into it, and nobody copies it again.
//	deals    per worker a link, a ring that blocks: which ranges of the window are the worker's
//	back     per worker a link: what it has done, and at the end its word table
//	totals   a value.Value and an array.Array (the histogram of word lengths), both under
//	lengths  one locks.Lock: a range is added to both under one hold, so they never disagree
//
// The parent (type dealer) gives each range to the worker with the least to do, and reuses a text's room in
// the window when its last range has been counted. A worker (type worker) is a registered function in a
// process of the same executable. When anything fails, the context of all ends, all workers are joined, and
// the first failure that is not a consequence of another one is reported.
package demo
