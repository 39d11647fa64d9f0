package bench

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/shoal-ipc/shoal/shm"
)

func allocPairs(ctx context.Context, p *part, m *meter) error {
	seg := p.Shared.Words.Segment()
	return m.loop(func(n int) error {
		for i := range n {
			off, mem, err := seg.Allocate(64)
			if err != nil {
				return err
			}
			binary.LittleEndian.PutUint64(mem, uint64(i))
			if err := seg.Deallocate(off); err != nil {
				return err
			}
		}
		return nil
	})
}

func objectPairs(ctx context.Context, p *part, m *meter) error {
	seg := p.Shared.Words.Segment()
	return m.loop(func(n int) error {
		for i := range n {
			b, err := shm.NewBlock(seg, "", 64)
			if err != nil {
				return err
			}
			binary.LittleEndian.PutUint64(b.Bytes(), uint64(i))
			if err := errors.Join(shm.Free(b), b.Close()); err != nil {
				return err
			}
		}
		return nil
	})
}
