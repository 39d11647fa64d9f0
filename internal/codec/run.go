package codec

import (
	"encoding/binary"
	"reflect"

	"github.com/shoal-ipc/shoal/internal/layout"
)

// runOf is how values of plain data are written that lie one after the other. Numbers are typed arrays, which
// other programs may know; all else has the hash of its structure before it.
func runOf(s *shape) runForm {
	k := s.typ.Kind()
	r := runForm{size: s.size, bools: layout.BoolsOf(s.typ), padding: layout.PaddingOf(s.typ)}
	r.wide = s.size == 4 && (k == reflect.Int || k == reflect.Uint)
	log := uint64(0) // of the width
	for 1<<log < r.width() {
		log++
	}
	switch s.class {
	case signed:
		r.tag = tagTyped | tagTypedSigned | log
	case unsigned:
		r.tag = tagTyped | log
	case single, double:
		r.tag = tagTyped | tagTypedFloat | log - 1
	default:
		r.tag = tagImage
		r.hash = string(binary.LittleEndian.AppendUint64(nil, layout.Hash(s.typ)))
	}
	if r.tag != tagImage && log > 0 && binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		r.tag |= tagTypedLittle
	}
	r.tagHead = string(appendHead(nil, majorTag, r.tag))
	return r
}

// rawOf is how the memory of s is copied as it is.
func rawOf(s *shape) *runForm {
	return &runForm{size: s.size, bools: layout.BoolsOf(s.typ), padding: layout.PaddingOf(s.typ)}
}
