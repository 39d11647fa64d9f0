package codec

import (
	"math"
	"reflect"
	"sync"

	"github.com/shoal-ipc/shoal/internal/layout"
)

// class is what a type is to the codec; it decides how its values look in CBOR.
type class uint8

const (
	boolean    class = iota // false or true
	signed                  // an integer
	unsigned                // an integer that is not negative
	single                  // a float of 32 bits
	double                  // a float of 64 bits
	text                    // a text string
	run                     // plain data, as a byte string; a slice may be null
	sequence                // a slice: an array or null
	array                   // an array of fixed length
	mapping                 // a map or null
	pointer                 // null, or as what it points to
	record                  // a struct: a map from its fields' names
	object                  // a pointer to a shared object: null or a byte string
	selfBinary              // what has MarshalBinary and UnmarshalBinary: a byte string
	selfCBOR                // what has MarshalCBOR and UnmarshalCBOR: anything
	timestamp               // time.Time: a text string, or null for the zero time
	bigInt                  // big.Int: an integer, or a tagged byte string
)

// endless is the height of types that contain themselves, and the greatest length of values that have none.
const endless = math.MaxInt

// shape is what the codec knows of a type; the shapes of a type's parts form a graph, with cycles where
// the type is recursive. A shape is immutable once planOf has returned it, but for spare.
type shape struct {
	class  class
	typ    reflect.Type
	size   uintptr // of a value in memory
	length int     // of an array, also of a run; -1 for slices
	elem   *shape  // of what is in a pointer, sequence, array or mapping
	key    *shape  // of a mapping
	run    runForm // of a run

	fields   []field        // of a record
	names    map[string]int // the index of each field that has a text string as its key
	numbers  map[string]int // the index of each field that has an integer, by that key in its shortest form
	optional bool           // some field is left out when it is zero
	heads    int            // bytes of the record's head and its keys, if nothing is left out

	plain   bool // plain data: a value is its memory
	objects bool // values may hold shared objects
	height  int  // containers on the longest way down, this one included
	longest int  // bytes of the longest value in CBOR, or endless

	spare sync.Pool // of *pair, for mappings: spares allocations; what it holds is zero
}

// field is a field of a record, or of a struct embedded there.
type field struct {
	key      string  // its name in CBOR, encoded
	offset   uintptr // from the beginning of the record
	shape    *shape
	optional bool // left out when it is zero
}

// runForm is how a run of plain data is written: tag, head of a byte string, hash, memory.
type runForm struct {
	tag     uint64 // 0: none
	tagHead string // the tag, encoded
	hash    string // of the elements' structure, 8 bytes; "" if the tag says it all
	size    uintptr
	bools   *layout.Bools
	padding *layout.Padding
	wide    bool // elements are int or uint of 4 bytes, and have 8 in the data
}

// container reports whether values of the shape count as a level of nesting.
func (s *shape) container() bool {
	switch s.class {
	case sequence, array, mapping, record:
		return true
	}
	return false
}

// parts calls f for the shapes directly below s.
func (s *shape) parts(f func(*shape)) {
	if s.elem != nil {
		f(s.elem)
	}
	for i := range s.fields {
		f(s.fields[i].shape)
	}
}

// plan is how values of a type cross that are not part of another.
type plan struct {
	shape    *shape
	raw      *runForm // how plain data is copied, or what a pointer to such points to; else nil
	indirect bool     // it is a pointer
}

// known is a result of compile: a plan, or why there is none.
type known struct {
	plan *plan
	err  error
}

// plans has the result for each type that was asked for. It grows with the types that the program
// sends, not with their values.
var plans sync.Map // of reflect.Type to known

// planOf is the plan for t, or the error of Check.
func planOf(t reflect.Type) (*plan, error) {
	k, ok := plans.Load(t)
	if !ok {
		p, err := compile(t)
		k, _ = plans.LoadOrStore(t, known{p, err})
	}
	return k.(known).plan, k.(known).err
}

// finish computes what depends on the whole graph.
func finish(nodes []*shape) {
	for changed := true; changed; { // until the news has gone round the cycles
		changed = false
		for _, s := range nodes {
			objects := s.class == object
			s.parts(func(p *shape) { objects = objects || p.objects })
			if objects != s.objects {
				s.objects, changed = objects, true
			}
		}
	}
	for _, s := range nodes {
		setHeight(s)
	}
	for _, s := range nodes {
		setLongest(s)
	}
}

// setHeight computes s.height, which is 0 before and -1 while it works.
func setHeight(s *shape) int {
	switch {
	case s.height < 0:
		return endless
	case s.height > 0:
		return s.height
	}
	s.height = -1
	h := 0
	s.parts(func(p *shape) { h = max(h, setHeight(p)) })
	if h != endless && s.container() {
		h++
	}
	s.height = h
	return h
}

// setLongest computes s.longest, which is 0 before.
func setLongest(s *shape) int {
	if s.longest == 0 {
		s.longest = longestOf(s)
	}
	return s.longest
}

func longestOf(s *shape) int {
	if s.height == endless {
		return endless
	}
	switch s.class {
	case boolean:
		return 1
	case signed, unsigned:
		return 1 + int(s.size)
	case single:
		return 5
	case double:
		return 9
	case timestamp:
		return 2 + longestTime
	case run:
		if s.length >= 0 {
			n := s.run.end(s.length, 0)
			if n >= alignedSize {
				n = add(n, (alignment-1)*len(tagNothing)) // where it begins is not known
			}
			return n
		}
	case array:
		return add(headSize(uint64(s.length)), times(s.length, setLongest(s.elem)))
	case pointer:
		return setLongest(s.elem)
	case record:
		n := s.heads
		for i := range s.fields {
			n = add(n, setLongest(s.fields[i].shape))
		}
		return n
	}
	return endless
}

// add and times are sums and products that stay endless.
func add(a, b int) int {
	if a > endless-b {
		return endless
	}
	return a + b
}

func times(a, b int) int {
	if a > 0 && b > endless/a {
		return endless
	}
	return a * b
}
