// Package words counts the words of text files. It is the pure part of shoal demo: it knows files, text and
// tables, and nothing of processes.
//
// A text file is valid UTF-8 without NUL. A word is a maximal run of runes for which unicode.IsLetter or
// unicode.IsDigit holds, lower-cased rune by rune with unicode.ToLower. A text may be cut into ranges at any
// byte offsets, also inside a rune or a word: a word belongs to the range that its first byte is in, so the
// ranges of a text together always have exactly its words.
package words
