package bench

import (
	"context"

	"github.com/shoal-ipc/shoal/internal/codec"
)

// codecFields encodes a struct of six fields and decodes it.
func codecFields(ctx context.Context, p *part, m *meter) error {
	c, err := codec.Of[fields]()
	if err != nil {
		return err
	}
	buffer := make([]byte, 0, 512)
	v := newFields(0)
	return m.loop(func(n int) error {
		for i := range n {
			v.Number = int64(i)
			data, err := c.Append(buffer, &v)
			if err != nil {
				return err
			}
			var got fields
			if err := c.Decode(data, &got); err != nil {
				return err
			}
			if err := got.check(i); err != nil {
				return err
			}
		}
		return nil
	})
}

// codecFloats does it with 8 MiB of numbers.
func codecFloats(ctx context.Context, p *part, m *meter) error {
	c, err := codec.Of[[]float64]()
	if err != nil {
		return err
	}
	a, want := newFloats()
	size, err := c.Size(&a)
	if err != nil {
		return err
	}
	buffer := make([]byte, 0, size)
	return m.loop(func(n int) error {
		for i := range n {
			data, err := c.Append(buffer, &a)
			if err != nil {
				return err
			}
			var got []float64
			if err := c.Decode(data, &got); err != nil {
				return err
			}
			if err := checkFloats(got, want, i); err != nil {
				return err
			}
		}
		return nil
	})
}
