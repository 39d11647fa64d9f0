// Package coded turns Go numbers into the bytes of C values and back, for values and arrays whose type is
// known at run time only.
package coded

import (
	"fmt"
	"math"
	"os"
	"reflect"
	"unicode"

	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/shm"
)

// Type is the Go type for which code stands; the error wraps shm.ErrType if there is none.
func Type(code shm.Code) (reflect.Type, error) {
	t := layout.TypeOfCode(byte(code))
	if t == nil {
		return nil, fmt.Errorf("%w: bad typecode %q (must be one of b B c u h H i I l L q Q f d)", shm.ErrType, code)
	}
	return t, nil
}

// Bits are the bytes of the C value of a code that Type accepts that is x, the first in the lowest bits,
// zeros above them. x is of one of Go's integer or floating-point types, or of a type defined by one, and
// fits:
//
//   - In an integer it is without a fraction and within the limits of its size and sign: 0 to 255 in a c, 0 to unicode.MaxRune in
//     a u.
//   - In an f it is within ±math.MaxFloat32. It is rounded to the nearest number that there is, and so is an integer in a d.
//     Infinities and what is no number stay what they are.
//
// The error is shm.ErrType if x is no number, else os.ErrInvalid: it names code, limits and number.
func Bits(code shm.Code, x any) (uint64, error) {
	t, err := Type(code)
	if err != nil {
		return 0, err
	}
	n, ok := numberOf(reflect.ValueOf(x))
	if !ok {
		return 0, fmt.Errorf("%w: code %q holds numbers: %T", shm.ErrType, code, x)
	}
	bits := 8 * t.Size()
	switch t.Kind() {
	case reflect.Float64:
		return math.Float64bits(n.float), nil
	case reflect.Float32:
		if math.Abs(n.float) > math.MaxFloat32 && !math.IsInf(n.float, 0) {
			return 0, fmt.Errorf("%w: code %q holds %v to %v: %v", os.ErrInvalid, code, -math.MaxFloat32, math.MaxFloat32, x)
		}
		return uint64(math.Float32bits(n.single)), nil
	}
	low, high := int64(0), uint64(math.MaxUint64)>>(64-bits)
	switch {
	case code == 'u':
		high = unicode.MaxRune
	case t.Kind() <= reflect.Int64:
		low, high = math.MinInt64>>(64-bits), high>>1
	}
	if !n.whole || n.negative && int64(n.bits) < low || !n.negative && n.bits > high {
		return 0, fmt.Errorf("%w: code %q holds whole numbers from %d to %d: %v", os.ErrInvalid, code, low, high, x)
	}
	return n.bits << (64 - bits) >> (64 - bits), nil
}

// number is a number in the forms that codes want.
type number struct {
	float    float64
	single   float32
	whole    bool // it has no fraction and fits into 64 bits, with a sign if negative
	negative bool
	bits     uint64
}

func numberOf(v reflect.Value) (n number, ok bool) {
	switch {
	case v.CanInt():
		i := v.Int()
		return number{float64(i), float32(i), true, i < 0, uint64(i)}, true
	case v.CanUint() && v.Kind() != reflect.Uintptr:
		u := v.Uint()
		return number{float64(u), float32(u), true, false, u}, true
	case v.CanFloat():
		f := v.Float()
		n = number{float: f, single: float32(f), negative: f < 0}
		switch {
		case f != math.Trunc(f): // so is what is no number
		case -1<<63 <= f && f < 0:
			n.whole, n.bits = true, uint64(int64(f))
		case 0 <= f && f < 1<<64:
			n.whole, n.bits = true, uint64(f)
		}
		return n, true
	}
	return n, false
}

// Number is the C value of a code that Type accepts whose bytes are the lowest of bits, whatever is above
// them: a byte for c, a rune for u, a float64 for f and d, an int64 for the integers with a sign, an uint64
// for those without.
func Number(code shm.Code, bits uint64) any {
	switch code {
	case 'c':
		return byte(bits)
	case 'u':
		return rune(bits)
	case 'b':
		return int64(int8(bits))
	case 'B':
		return uint64(uint8(bits))
	case 'h':
		return int64(int16(bits))
	case 'H':
		return uint64(uint16(bits))
	case 'i':
		return int64(int32(bits))
	case 'I':
		return uint64(uint32(bits))
	case 'l', 'q':
		return int64(bits)
	case 'f':
		return float64(math.Float32frombits(uint32(bits)))
	case 'd':
		return math.Float64frombits(bits)
	}
	return bits // L and Q
}
