// Package bench measures Shoal beside what else does the same: programs in C, what Go has itself, Python.
//
// Only ratios count, and only those of one run: machines differ, and so does one machine from minute to minute.
// So two things are measured in turn, A B A B ([Pairs]), and reported with the median and the spread of the
// ratios of neighbours. One iteration of a benchmark is one pair. The peers are in the directory peers; those
// in C are compiled with gcc when they are needed.
//
//	go test ./bench -run '^$' -bench SPSC -benchtime 9x
//
// Rows that need two CPUs bind each side to its own and check that it ran there. Results are worth something on
// a machine that does nothing else meanwhile.
package bench
