package codec_test

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/big"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/codec"
)

// onlyLittleEndian skips where the examples are the other way round: there are no segments there.
func onlyLittleEndian(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("a big-endian machine")
	}
}

// TestBytes holds what is written to the examples in docs/LAYOUT.md, and reads these.
func TestBytes(t *testing.T) {
	onlyLittleEndian(t)
	doc, err := os.ReadFile("../../docs/LAYOUT.md")
	if err != nil {
		t.Fatal(err)
	}
	type Spot struct {
		X, Y float32
		OK   bool
	}
	type User struct {
		Name string
		ID   int `cbor:"1,keyasint"`
	}
	type Team struct {
		Users []User
		Home  Spot
	}
	for _, c := range []struct {
		typ, value string
		v          any
		want       string
	}{
		{"int64", "-2", int64(-2), "fe ff ff ff ff ff ff ff"},
		{"Spot", "{1, 2, true}", Spot{1, 2, true}, "00 00 80 3f 00 00 00 40 01 00 00 00"},
		{"*Spot", "nil", (*Spot)(nil), ""},
		{"string", `"hi"`, "hi", "62 68 69"},
		{"[]byte", "nil", []byte(nil), "f6"},
		{"[]byte", "{1, 255}", []byte{1, 255}, "42 01 ff"},
		{"[]float64", "{1, 2}", []float64{1, 2}, "d8 56 50 00 00 00 00 00 00 f0 3f 00 00 00 00 00 00 00 40"},
		{"[]int", "{-1}", []int{-1}, "d8 4f 48 ff ff ff ff ff ff ff ff"},
		{"[]uint16", "{}", []uint16{}, "d8 45 40"},
		{"[]bool", "{true, false}", []bool{true, false}, "da 53 68 6f 61 4a 7c 7e 4d b5 07 03 a6 08 01 00"},
		{"[]Spot", "{{1, 2, true}}", []Spot{{1, 2, true}},
			"da 53 68 6f 61 54 0a 20 e8 1c 2d 62 d2 e6 00 00 80 3f 00 00 00 40 01 00 00 00"},
		{"[]string", `{"a", ""}`, []string{"a", ""}, "82 61 61 60"},
		{"[]*int", "{nil, 500}", []*int{nil, ptr(500)}, "82 f6 19 01 f4"},
		{"map[string]int8", `{"a": -1}`, map[string]int8{"a": -1}, "a1 61 61 20"},
		{"User", `{"Ann", 7}`, User{"Ann", 7}, "a2 64 4e 61 6d 65 63 41 6e 6e 01 07"},
		{"Team", `{nil, {1, 0, true}}`, Team{nil, Spot{1, 0, true}},
			"a2 65 55 73 65 72 73 f6 64 48 6f 6d 65 a3 61 58 fa 3f 80 00 00 61 59 fa 00 00 00 00 62 4f 4b f5"},
		{"time.Time", "one second after 1970", time.Unix(1, 0).UTC(),
			"74 31 39 37 30 2d 30 31 2d 30 31 54 30 30 3a 30 30 3a 30 31 5a"},
		{"big.Int", "2^64", *new(big.Int).Lsh(big.NewInt(1), 64), "c2 49 01 00 00 00 00 00 00 00 00"},
	} {
		row := fmt.Sprintf("| `%s` | `%s` | `%s` |", c.typ, c.value, c.want)
		if c.want == "" {
			row = fmt.Sprintf("| `%s` | `%s` | none |", c.typ, c.value)
		}
		if !strings.Contains(string(doc), row) {
			t.Errorf("docs/LAYOUT.md lacks the row\n%s", row)
		}
		want, err := hex.DecodeString(strings.ReplaceAll(c.want, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := codec.Marshal(c.v); err != nil || string(got) != string(want) {
			t.Errorf("%s %s: %v\n got % x\nwant %s", c.typ, c.value, err, got, c.want)
		}
		got := reflect.New(reflect.TypeOf(c.v))
		if err := codec.Unmarshal(want, got.Interface()); err != nil || !reflect.DeepEqual(got.Elem().Interface(), c.v) {
			t.Errorf("%s: got %v, %v", c.typ, got.Elem(), err)
		}
	}
}
