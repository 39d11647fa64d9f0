package shm

import "runtime"

// Block is plain memory in a segment, for people who build their own structures.
//
// Any goroutine of any process that has the segment may use the bytes; who writes them when is the users'
// agreement. A process that is killed leaves them as they are. Bytes and Uint32 go on working after Close.
type Block struct{ Ref }

var blockKind = Kind{Name: "block"}

// NewBlock allocates size zeroed bytes, aligned to 128. The errors are those of Kind.New.
func NewBlock(seg *Segment, name string, size int) (*Block, error) {
	b := new(Block)
	if _, err := blockKind.New(&b.Ref, seg, name, size, nil); err != nil {
		return nil, err
	}
	return b, nil
}

// OpenBlock finds a block. The errors are those of Kind.Open.
func OpenBlock(seg *Segment, name string) (*Block, error) {
	b := new(Block)
	if _, err := blockKind.Open(&b.Ref, seg, name); err != nil {
		return nil, err
	}
	return b, nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (b *Block) UnmarshalBinary(data []byte) error {
	_, err := blockKind.Unmarshal(&b.Ref, data)
	return err
}

// Bytes is the block itself; keep b reachable while you use it (runtime.KeepAlive).
func (b *Block) Bytes() []byte {
	defer runtime.KeepAlive(b)
	return b.mem
}
