// Package codec carries Go values from one process to another: arguments, queue items, messages.
//
// Plain data (numbers, bools, arrays and structs of these) is its memory. All else is encoded as CBOR (RFC
// 8949), where slices and arrays of plain data are their memory again, each one run of bytes; docs/LAYOUT.md
// says how each type looks. What arrives is equal to what was sent, in the sense of
// reflect.DeepEqual, or the type is refused beforehand by [Check], which names the field and says what
// to do about it; no field is ever dropped silently, as CBOR and JSON encoders do by default. The
// exceptions:
//
//   - A time.Time keeps its instant to the nanosecond and its offset from UTC, but not its monotonic
//     reading nor the name of its zone: compare with Equal.
//   - Pointers to one variable arrive as pointers to several, and slices of one array likewise: a
//     variable is sent once for each way that leads to it. The capacity of a slice is its length.
//   - A NaN stays a NaN, which is not equal to itself.
//   - Fields named "_" arrive as zero.
//   - Types that encode themselves (MarshalBinary with UnmarshalBinary, or MarshalCBOR with
//     UnmarshalCBOR) arrive as they see fit.
//
// Values may be nested MaxDepth levels deep. A pointer cycle is an error; it would be infinitely deep.
//
// The sender may be another build of the program, in which a struct has other fields: those that the data lacks
// are zero, and those that the receiver's struct lacks are passed over. That does not hold for structs that are plain
// data, on their own or in runs: these have to be the same on both sides. A run says what it is made
// of, and is refused by who makes it of something else; for a value that is plain data as a whole, whoever
// holds it compares layout.Hash.
//
// Bytes are input: they may come from a process that was killed, or that means harm, and may change while they are
// read. A decoder reads each byte once. It accepts what is well-formed and of the right types:
// arrays of the right length, no null where there is no nil, no field twice. A number in the data never makes room for
// more values than bytes follow, nor for more memory than a multiple of that; memory for fields that are
// left out is limited in proportion to the length of the data, too. What types make
// of their own encodings is theirs to limit.
//
// Shared objects (shm.Object) cross as pointers, by their own MarshalBinary; [Objects] finds those that
// a value holds. One that has arrived in a value that then proves to be corrupt is left to the garbage collector.
//
// # How it works
//
// A type is compiled once, into a graph of shapes, which appendValue, sizeOf and decoder.value follow over the
// memory of a value. What is known about a type is kept for the life of the process; there
// is an entry for each type that a program sends, and nothing to empty it but a test's hook.
package codec
