// Package wait is how things that do not block by themselves (rings) are waited for.
package wait
