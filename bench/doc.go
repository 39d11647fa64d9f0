// Package bench measures Shoal beside what else does the same: programs in C, C++ and Python, what Go has
// itself, and what the machine can do at best.
//
//	go run ./cmd/shoal bench --peers               # all rows, three quarters of an hour
//	go run ./cmd/shoal bench --only 'spsc.*' --json spsc.json
//	go test -run '^$' -bench . -benchtime 5x ./bench  # the same code under package testing
//
// A row ([Names]) is one question: what does one operation of this kind cost? Its sides are the
// implementations that answer it, and mode says where their processes run. Only ratios count, and only those of
// one run: machines differ, and so does one machine from minute to minute. So the sides are measured in turns,
// A B C A B C, of some hundredths of a second, each in fresh processes, and a ratio is the median of the ratios of
// neighbours in time. Twenty turns are a repeat; what is reported is the median and the spread of the repeats.
//
// Each side is first tried with few operations, which also warms caches up, and from that follows how many make a
// turn. Processes are bound to CPUs, all their threads are, and each reports on which CPU it was at the beginning
// and at the end; a side that did not run where it was bound to is an error. Times of single operations, where
// there are any, come from a pass of their own within each turn, in which one reading of the clock is part of each;
// where that is nothing beside an operation, from the pass that counts.
//
// Where something else than time matters it is counted beside that, and the most of all turns is what is reported. A
// row of locks can fail its own check: the operations of its processes must make the number that the lock guards.
//
// The peers are programs of ours against what Debian packages (glibc, Boost, Python); they lie in the directory
// peers, are part of the executable, and are compiled when they are asked for. A peer that this machine cannot
// compile, or for which there is no python3 or no numpy, is reported as missing; one that fails is an error.
package bench
