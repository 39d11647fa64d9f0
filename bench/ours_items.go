package bench

import "fmt"

// fields are what a tuple of six is to Python.
type fields struct {
	Number int64
	Text   string
	Part   float64
	Flag   bool
	Data   []byte
	Last   uint32
}

// newFields are those of item i.
func newFields(i int) fields {
	return fields{Number: int64(i), Text: "a short text", Part: 3.5, Flag: true, Data: []byte("some bytes"), Last: 9}
}

// check is an error unless f is item i, whole.
func (f *fields) check(i int) error {
	if f.Number != int64(i) || f.Text != "a short text" || f.Part != 3.5 || !f.Flag || string(f.Data) != "some bytes" || f.Last != 9 {
		return fmt.Errorf("item %d is %+v", i, *f)
	}
	return nil
}

// floats is how many numbers 8 MiB have, of which every stride-th is read.
const (
	floats = 1 << 20
	stride = 8
)

// newFloats are so many numbers, and what those that are read make together.
func newFloats() (a []float64, sum float64) {
	a = make([]float64, floats)
	for i := range a {
		a[i] = float64(i)
	}
	return a, strided(a)
}

func strided(a []float64) (sum float64) {
	for i := 0; i < len(a); i += stride {
		sum += a[i]
	}
	return sum
}

// checkFloats is an error unless a is what newFloats made.
func checkFloats(a []float64, want float64, i int) error {
	if got := strided(a); len(a) != floats || got != want {
		return fmt.Errorf("array %d has %d numbers that make %v, want %v", i, len(a), got, want)
	}
	return nil
}
