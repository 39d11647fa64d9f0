package layout

import "reflect"

// codes are the type codes of Python's modules array and multiprocessing.sharedctypes, with the Go types that
// have the size and meaning that C's types have on Linux x86-64. Where several codes stand for one type the
// first is that of the type.
var codes = [...]struct {
	code byte
	typ  reflect.Type
}{
	{'b', reflect.TypeFor[int8]()},
	{'B', reflect.TypeFor[uint8]()},
	{'h', reflect.TypeFor[int16]()},
	{'H', reflect.TypeFor[uint16]()},
	{'i', reflect.TypeFor[int32]()},
	{'I', reflect.TypeFor[uint32]()},
	{'q', reflect.TypeFor[int64]()},
	{'Q', reflect.TypeFor[uint64]()},
	{'f', reflect.TypeFor[float32]()},
	{'d', reflect.TypeFor[float64]()},
	{'l', reflect.TypeFor[int64]()},
	{'L', reflect.TypeFor[uint64]()},
	{'c', reflect.TypeFor[byte]()}, // char
	{'u', reflect.TypeFor[rune]()}, // wchar_t
}

// TypeOfCode is the Go type for which a type code stands, nil if there is none.
func TypeOfCode(code byte) reflect.Type {
	for i := range codes {
		if codes[i].code == code {
			return codes[i].typ
		}
	}
	return nil
}

// CodeOfType is the type code that stands for numbers of t's kind and size, 0 if there is none.
func CodeOfType(t reflect.Type) byte {
	if !isScalar(t.Kind()) {
		return 0
	}
	for i := range codes {
		c := codes[i].typ
		if scalarLetter(c.Kind()) == scalarLetter(t.Kind()) && c.Size() == t.Size() {
			return codes[i].code
		}
	}
	return 0
}
