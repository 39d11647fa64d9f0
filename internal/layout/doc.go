// Package layout says how values lie in shared memory: which types may lie there at all, whether two
// programs mean the same bytes by a type, and how bytes from elsewhere become a valid Go value.
//
//   - [CacheLine] and [Up] place things.
//   - [Plain] accepts the types whose values may be copied in and out as raw bytes.
//   - [Signature] and [Hash] describe a type's memory, so that programs that disagree find out.
//   - [TypeOfCode] and [CodeOfType] lead from Python's type codes to Go types and back.
//   - [BoolsOf] finds the bools in a type; a bool byte that is neither 0 nor 1 must not reach Go code.
//   - [PaddingOf] finds the bytes that mean nothing; they must not tell what lay there before.
//   - [CheckShared] checks the structs of this module that describe shared memory themselves.
//
// Nothing here is remembered between calls: who needs a result often keeps it.
//
// # Signature
//
// The signature of a type is a text that says what its bytes mean, without the Go names of types, so
// that a program in C or Python can compute it. For types of fixed size without pointers it is, in
// UTF-8 and without any white space:
//
//	type   = scalar | array | struct
//	scalar = "b1"                         a bool, one byte, 0 or 1
//	       | "i1" | "i2" | "i4" | "i8"    a signed integer of so many bytes
//	       | "u1" | "u2" | "u4" | "u8"    an unsigned integer
//	       | "f4" | "f8"                  an IEEE 754 number
//	       | "c8" | "c16"                 a complex number: two f4, two f8, the real part first
//	array  = "[" count "]" type           so many values, one after the other
//	struct = "{" [ field { "," field } ] "}" size
//	field  = name "@" offset ":" type     fields in the order of their offsets
//
// Numbers (count, size, offset) are decimal, in bytes where they measure memory, without leading
// zeros. Offsets count from the start of the struct that the field is written in; size includes the
// padding at the end. And:
//
//   - Go's int and uint are written by their size: i8 and u8, or i4 and u4 in a 32-bit program.
//   - The types of sync/atomic are written as the integer they hold (atomic.Bool is u4).
//   - Fields named "_" and fields of size zero are padding, and left out.
//   - The fields of an embedded struct are written as fields of the outer one, with their offsets in
//     that, as C has it for anonymous members. (An embedded type that is not a struct is a field like
//     any other, and has the type's name.)
//   - Alignment is not written: it shows in the offsets and sizes.
//   - Byte order is not written: all programs that share memory run on one machine.
//
// Two types have the same signature if and only if their named bytes mean the same. The hash of a type is
// the 64-bit FNV-1a hash of its signature: h = 0xcbf29ce484222325, and for each byte b of the text
// h = (h xor b) * 0x100000001b3 modulo 2^64. Examples, from a 64-bit program:
//
//	Go type                                        signature                            hash
//	bool                                           b1                                   0x08a60307b54d7e7c
//	float64                                        f8                                   0x08988407b5421c53
//	int                                            i8                                   0x08b70a07b55bfd94
//	[4]int32                                       [4]i4                                0x689d4f46ec32ea20
//	struct{ ID uint64; OK bool }                   {ID@0:u8,OK@8:b1}16                  0xbfa630fef14ad64d
//	struct{ At [2]struct{ X, Y float32 } }         {At@0:[2]{X@0:f4,Y@4:f4}8}16         0x0ac6561bbfb9cd4a
//	struct{ A uint8; _ [7]byte; C complex64 }      {A@0:u1,C@8:c8}16                    0xf2fc0be35feab161
//
// Types that are not of fixed size, whose values cross encoded, have signatures too, so that they can
// be told apart, but those are for programs of one build only. Parts of fixed size are written as
// above; beyond that there is "string", "[]" type, "*" type, "map[" type "]" type, "interface",
// "func", "chan", "uintptr" and "pointer"; "opaque" for a type that encodes itself (see package
// encoding); "{" name ":" type, … "}" for a struct; and "#n" for another occurrence of the n-th (from
// 0, in the order in which they begin) defined array, slice, pointer, map or struct type among these
// parts.
package layout
