// Package rules holds no code, only tests that read the source of the whole module and check what a compiler
// does not: which package may import which, where unsafe and system calls live, what is documented, that no
// package keeps hidden state, and which of the behaviours that Python's multiprocessing promises have a test
// (the conformance list).
//
// Each rule is a function from a parsed tree to findings. It runs on this module, and on small made-up modules
// that break it, so that a rule which can no longer fail is noticed.
package rules
