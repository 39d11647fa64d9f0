// Package crashpoint marks the places between two changes of shared memory, at which a test can kill or stop
// the process.
//
// In a program built with -tags crashpoint, [Hit] counts, and the n-th one after Arm, or the first one of a name
// after ArmAt, kills or stops the process. Without the tag Hit is empty, there is nothing else, and the compiler
// leaves nothing of it. Code that the compiler must inline asks Enabled first, which costs the inliner nothing:
//
//	if crashpoint.Enabled {
//		crashpoint.Hit("ring/push/written")
//	}
//
// Names say package, operation, and what has just been done: "shm/lay/claimed".
package crashpoint
