package process_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/process"
)

// message is what Receive hands on.
type message struct {
	kind byte
	body string
}

// packetReader gives one packet for each Read, as a SOCK_SEQPACKET socket does.
type packetReader [][]byte

func (r *packetReader) Read(p []byte) (int, error) {
	if len(*r) == 0 {
		return 0, io.EOF
	}
	n := copy(p, (*r)[0])
	*r = (*r)[1:]
	return n, nil
}

func received(r io.Reader, limit int) (got []message, err error) {
	err = process.Receive(r, limit, func(kind byte, body []byte) error {
		got = append(got, message{kind, string(body)})
		return nil
	})
	return got, err
}

func cut(kind byte, body string) (packets [][]byte) {
	for p := range process.Packets(kind, []byte(body)) {
		packets = append(packets, bytes.Clone(p))
	}
	return packets
}

func TestMessages(t *testing.T) {
	for _, n := range []int{0, 1, 32<<10 - 3, 32<<10 - 2, 32<<10 - 1, 64 << 10, 1 << 20} {
		body := strings.Repeat("x", n)
		packets := cut(process.KindCall, body)
		// Another message between the packets of the first.
		packets = slices.Insert(packets, len(packets)-1, cut(process.KindCancel, "")...)
		reader := packetReader(packets)
		got, err := received(&reader, n)
		want := []message{{process.KindCancel, ""}, {process.KindCall, body}}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%d bytes: %d messages, %v, want cancel and call", n, len(got), err)
		}
		if n == 0 {
			continue
		}
		reader = packets
		if _, err := received(&reader, n-1); !errors.Is(err, process.ErrProtocol) {
			t.Errorf("%d bytes where %d are allowed: %v, want ErrProtocol", n, n-1, err)
		}
	}
}

func TestMessagesNonsense(t *testing.T) {
	for _, packet := range []string{"", "c", "c\x02", "?\x00", "\x00\x00", "c\x00" + strings.Repeat("x", 32<<10-1)} {
		reader := packetReader{[]byte(packet)}
		if packet == "" {
			continue // that is the end of the file
		}
		if got, err := received(&reader, math.MaxInt); !errors.Is(err, process.ErrProtocol) || len(got) != 0 {
			t.Errorf("%.10q: %d messages, %v, want ErrProtocol", packet, len(got), err)
		}
	}
}

func TestPrefixer(t *testing.T) {
	long := strings.Repeat("x", 64<<10)
	for _, c := range []struct {
		writes []string
		want   string
	}{
		{nil, ""},
		{[]string{"a\n"}, "p: a\n"},
		{[]string{"a"}, "p: a\n"},
		{[]string{"a", "b\nc", "\n", "\n", "d"}, "p: ab\np: c\np: \np: d\n"},
		{[]string{"a\nb\nc\n"}, "p: a\np: b\np: c\n"},
		{[]string{long + "yz\n"}, "p: " + long + "\np: yz\n"},
		{[]string{"a" + long}, "p: a" + long[1:] + "\np: x\n"},
		{[]string{"a", long + "\n"}, "p: a" + long[1:] + "\np: x\n"},
		{[]string{long, "\n"}, "p: " + long + "\np: \n"},
	} {
		var out bytes.Buffer
		w, flush := process.NewPrefixer(&out, "p: ")
		for _, s := range c.writes {
			if n, err := io.WriteString(w, s); n != len(s) || err != nil {
				t.Fatalf("Write: %d, %v", n, err)
			}
		}
		flush()
		if out.String() != c.want {
			t.Errorf("%.20q: %.40q (%d bytes), want %.40q (%d bytes)", c.writes, out.String(), out.Len(), c.want, len(c.want))
		}
	}
}
