// Package codec carries Go values from one process to another: arguments, queue items, messages.
//
// A value is encoded as CBOR (RFC 8949). What arrives is equal to what was sent, in the sense of
// reflect.DeepEqual, or the type is refused beforehand by [Check], which names the field and says what
// to do about it; no field is ever dropped silently, as CBOR and JSON encoders do by default. The
// exceptions:
//
//   - A time.Time keeps its instant to the nanosecond and its offset from UTC, but not its monotonic
//     reading nor the name of its zone: compare with Equal.
//   - Pointers to one variable arrive as pointers to several, and slices of one array likewise: a
//     variable is sent once for each way that leads to it. The capacity of a slice is its length.
//   - A NaN stays a NaN, which is not equal to itself.
//   - Types that encode themselves (MarshalBinary with UnmarshalBinary, or MarshalCBOR with
//     UnmarshalCBOR) arrive as they see fit.
//
// Values may be nested MaxDepth levels deep. A pointer cycle is an error; it would be infinitely deep.
//
// Bytes are input: they may come from a process that was killed, or that means harm. Unmarshal accepts
// only what Marshal could have written for the same type: every field in its place, arrays of the
// right length, no null where there is no nil. Every value in memory is therefore paid for by a byte
// of data at least, and memory stays in proportion to the length of the data. What types make
// of their own encodings is theirs to limit.
//
// Shared objects (shm.Object) cross as pointers, by their own MarshalBinary; [Objects] finds those that
// a value holds.
//
// What is known about a type is computed at its first use and kept for the life of the process; there
// is an entry for each type that a program sends, and nothing to empty it but a test's hook.
package codec
