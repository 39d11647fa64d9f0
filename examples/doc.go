// Package examples has programs to read, one to a directory, and a test that runs them and compares what they
// print.
package examples
