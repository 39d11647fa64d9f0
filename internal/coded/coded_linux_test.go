package coded_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/array"
	"github.com/shoal-ipc/shoal/internal/coded"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/shm"
	"github.com/shoal-ipc/shoal/value"
)

// limits are what each code holds.
var limits = []struct {
	code      shm.Code
	low, high any
}{
	{'c', byte(0), byte(255)},
	{'b', int64(-128), int64(127)},
	{'B', uint64(0), uint64(255)},
	{'u', rune(0), rune(0x10ffff)},
	{'h', int64(math.MinInt16), int64(math.MaxInt16)},
	{'H', uint64(0), uint64(math.MaxUint16)},
	{'i', int64(math.MinInt32), int64(math.MaxInt32)},
	{'I', uint64(0), uint64(math.MaxUint32)},
	{'l', int64(math.MinInt64), int64(math.MaxInt64)},
	{'L', uint64(0), uint64(math.MaxUint64)},
	{'q', int64(math.MinInt64), int64(math.MaxInt64)},
	{'Q', uint64(0), uint64(math.MaxUint64)},
	{'f', -math.MaxFloat32, math.MaxFloat32},
	{'d', -math.MaxFloat64, math.MaxFloat64},
}

// Numbers of all kinds are taken if they fit, exactly.
func TestBits(t *testing.T) {
	type named uint16
	inf := math.Inf(1)
	for _, c := range []struct {
		codes string
		x     any
		fits  bool
	}{
		{"cBuhHiIlLqQfd", byte(255), true}, {"b", byte(128), false}, {"b", 127.0, true}, {"b", int8(-128), true},
		{"cbBuhHiIlLqQfd", 'x', true}, {"bBchHu", 1 << 21, false}, {"iIlLqQfd", 1 << 21, true},
		{"cBHILQu", -1, false}, {"bhilqfd", -1, true}, {"cBHILQu", -1.0, false}, {"bhilqfd", -1.0, true},
		{"cbBuhHiIlLqQ", 0.5, false}, {"fd", 0.5, true}, {"cbBuhHiIlLqQ", -0.5, false},
		{"cbBuhHiIlLqQfd", math.Copysign(0, -1), true},
		{"i", int64(1 << 31), false}, {"i", uint64(1<<31 - 1), true}, {"i", float32(-1 << 31), true}, {"i", -1<<31 - 1.0, false},
		{"IfqQlLd", uint32(math.MaxUint32), true}, {"I", int64(1 << 32), false}, {"I", float64(1 << 32), false},
		{"qli", uint64(1 << 63), false}, {"QLfd", uint64(1 << 63), true}, {"QLfd", float64(1 << 63), true},
		{"ql", float64(1 << 63), false}, {"qlfd", float64(-1 << 63), true}, {"ql", math.Nextafter(-1<<63, -inf), false},
		{"ql", math.Nextafter(1<<63, 0), true}, {"QL", float64(1 << 64), false}, {"QL", math.Nextafter(1<<64, 0), true},
		{"QLfd", uint64(math.MaxUint64), true}, {"QLql", inf, false}, {"QLqlbc", math.NaN(), false}, {"fd", inf, true},
		{"fd", -inf, true}, {"fd", math.NaN(), true}, {"f", math.MaxFloat32, true}, {"f", -math.MaxFloat32, true},
		{"f", math.Nextafter(math.MaxFloat32, inf), false}, {"f", -1e300, false}, {"d", -1e300, true},
		{"bBcuhHiIlLqQfd", named(7), true}, {"bB", named(256), false},
	} {
		for _, code := range c.codes {
			bits, err := coded.Bits(shm.Code(code), c.x)
			if (err == nil) != c.fits {
				t.Errorf("%v (%T) in a %c: %v, want that it fits: %v", c.x, c.x, code, err, c.fits)
				continue
			}
			if err != nil {
				says := err.Error()
				if !errors.Is(err, os.ErrInvalid) || !strings.Contains(says, fmt.Sprintf("%q", code)) || !strings.Contains(says, fmt.Sprint(c.x)) {
					t.Errorf("%v in a %c: %v", c.x, code, err)
				}
				continue
			}
			want, got := c.x, coded.Number(shm.Code(code), bits)
			if code == 'f' { // what is rounded
				want = number(t, c.x)
				want = float64(float32(want.(float64)))
			}
			if n, w := number(t, got), number(t, want); n != w && !(math.IsNaN(n) && math.IsNaN(w)) {
				t.Errorf("%v in a %c became %v", c.x, code, got)
			}
		}
	}
	for _, x := range []any{"1", nil, true, 1i, []int{1}, uintptr(1), new(int)} {
		if _, err := coded.Bits('d', x); !errors.Is(err, shm.ErrType) {
			t.Errorf("%v: %v", x, err)
		}
	}
	// Whole numbers that a float64 cannot tell apart stay apart.
	for _, code := range []shm.Code{'q', 'Q', 'l', 'L'} {
		bits, err := coded.Bits(code, int64(1<<53+1))
		if err != nil || bits != 1<<53+1 {
			t.Errorf("%c: %d, %v", code, bits, err)
		}
	}
	if bits, err := coded.Bits('f', uint64(1<<63+1<<39+1)); err != nil || math.Float32frombits(uint32(bits)) != 1<<63+1<<40 {
		t.Errorf("an integer is rounded twice: %v, %v", math.Float32frombits(uint32(bits)), err)
	}
}

// number is x as a float64: near enough to tell numbers of tests apart.
func number(t *testing.T, x any) float64 {
	bits, err := coded.Bits('d', x)
	proctest.Must(t, err)
	return math.Float64frombits(bits)
}

// Python's own ctypes read what Go stored by the same code, and Go reads what they store.
func TestPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("needs python3")
	}
	name := proctest.Name(t)
	seg, err := shm.Create(name, 1<<20)
	proctest.Must(t, err)
	defer seg.Close()
	ctx := t.Context()

	const element = 3
	args := []string{"testdata/codes.py", "/dev/shm/shoal." + name}
	var values []*value.Coded
	var arrays []*array.Coded
	for _, l := range limits {
		v, err := value.NewCode(seg, "", l.code, l.low, value.Options{Unlocked: true})
		proctest.Must(t, err)
		a, err := array.NewCode(seg, "", l.code, element+1, array.Options{Unlocked: true})
		proctest.Must(t, err)
		proctest.Must(t, a.Set(ctx, element, l.high))
		values, arrays = append(values, v), append(arrays, a)
		args = append(args, fmt.Sprint(v.Handle().Offset+128), "-1", string(l.code), fmt.Sprint(l.high))
		args = append(args, fmt.Sprint(a.Handle().Offset+128), fmt.Sprint(element), string(l.code), fmt.Sprint(l.low))
	}
	out, err := exec.Command(python, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for i, l := range limits {
		for j, want := range []any{l.low, l.high} {
			var size int
			var said float64
			if _, err := fmt.Sscan(lines[2*i+j], &size, &said); err != nil || size != l.code.Size() || said != number(t, want) {
				t.Errorf("%c: Python read %q, want %d and %v", l.code, lines[2*i+j], l.code.Size(), want)
			}
		}
		if got, err := values[i].Get(ctx); got != l.high || err != nil {
			t.Errorf("%c: Python stored %v, read %v, %v", l.code, l.high, got, err)
		}
		if got, err := arrays[i].Get(ctx, element); got != l.low || err != nil {
			t.Errorf("%c: Python stored %v in an array, read %v, %v", l.code, l.low, got, err)
		}
	}
	proctest.Must(t, seg.Check())
}
