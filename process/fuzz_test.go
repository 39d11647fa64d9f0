package process_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/process"
)

func FuzzMarker(f *testing.F) {
	f.Add("1 0123456789abcdef 3")
	f.Add("1 0123456789abcdef 5 000102030405060708090a0b0c0d0e0f:6:7:4097 ff0102030405060708090a0b0c0d0e0f:8:9:0")
	f.Add("1 0123456789abcdef 03")
	f.Add("1 0123456789abcdef +3")
	f.Add("1 0123456789abcdef 3 FF0102030405060708090a0b0c0d0e0f:4:5:1")
	f.Add("1  3")
	f.Add("0")
	f.Fuzz(func(t *testing.T, text string) {
		if normal, err := process.ParseMarker(text); err == nil && normal != text {
			t.Errorf("%q is taken for %q", text, normal)
		}
	})
}

func FuzzCall(f *testing.F) {
	f.Add([]byte("\x05count\x07count-1\x04main\x7b\x03key\x00argument"))
	f.Add([]byte("\x05count\x07count-1\x04main\x7b\x03key\x07\x80\x10\x80\x20argument"))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		again, err := process.DecodeCall(b)
		if err != nil {
			return
		}
		if third, err := process.DecodeCall(again); err != nil || !bytes.Equal(again, third) {
			t.Errorf("%q is decoded to %q, that to %q, %v", b, again, third, err)
		}
	})
}

func FuzzQuestion(f *testing.F) {
	f.Add([]byte("\x01\x80\x100123456789abcdef"))
	f.Add([]byte("\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x010123456789abcdef"))
	f.Add([]byte("\x01\x81\x20"))
	f.Add([]byte("\x01\x00\x04type\x04text\x00\x00\x00\x00"))
	f.Add([]byte("\x01\x00does not have it"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for what, decode := range map[string]func([]byte) ([]byte, error){
			"question": process.DecodeQuestion, "answer": process.DecodeAnswer, "cancellation": process.DecodeCancellation,
		} {
			again, err := decode(b)
			if err != nil {
				continue
			}
			if third, err := decode(again); err != nil || !bytes.Equal(again, third) {
				t.Errorf("%s %q is decoded to %q, that to %q, %v", what, b, again, third, err)
			}
		}
	})
}

func FuzzError(f *testing.F) {
	f.Add(process.EncodeError(errors.New("x"), false, ""))
	f.Add(process.EncodeError("x", true, "stack"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := process.DecodeError(b)
		if (e == nil) == (err == nil) {
			t.Fatalf("%v and %v", e, err)
		}
		if e != nil && len(e.Type)+len(e.Text)+len(e.Stack) > len(b) {
			t.Errorf("%d bytes became more", len(b))
		}
		if e != nil {
			_ = strings.Clone(e.Error())
			errors.Is(e, errors.ErrUnsupported)
		}
	})
}

func FuzzReceive(f *testing.F) {
	f.Add([]byte("c\x01hello|c\x00you"), 100)
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		reader := packetReader(bytes.Split(b, []byte("|")))
		limit = min(max(limit, 0), math.MaxInt)
		got, err := received(&reader, limit)
		for _, m := range got {
			if len(m.body) > limit {
				t.Errorf("a message of %d bytes, limit %d (%v)", len(m.body), limit, err)
			}
		}
	})
}
