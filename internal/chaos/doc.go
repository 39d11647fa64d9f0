// Package chaos has a test and nothing else: locks, conditions, barriers, values, arrays, rings, names and processes on one
// segment, while those who use them are killed and stopped at random.
package chaos
