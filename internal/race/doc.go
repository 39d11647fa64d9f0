// Package race tells the race detector about hand-overs through shared memory.
//
// The detector ignores memory that Go did not allocate: it sees neither races on it nor the order that atomic
// operations on it make, and so reports what was handed over correctly as a race (golang/go#16206). Every
// lock and ring therefore acquires and releases a Word, which lies in the Go heap and is the same for all
// handles of one object in the process. Without -race everything here is empty.
package race
