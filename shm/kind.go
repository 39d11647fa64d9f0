package shm

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"time"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/robust"
)

// Kind describes a kind of object to those who build one: its functions make and find objects of that kind
// and attach a Ref to them. The types of packages locks, value and array are built with it, and others can
// be.
type Kind struct {
	Name string // at most 8 bytes of ASCII: "lock"
	Hash uint64 // of the element type (layout.Hash), 0 if the kind has none; must be equal to open
	Type string // the element type's name, for people
	Code Code   // of the element type, whose Hash it must have, or 0
	Min  int    // the least size; a smaller object is ErrCorrupt to open
	// Guarded says that the payload begins with an owner word (package robust), so that the object can be
	// opened as a lock too.
	Guarded bool
	// Permits says that the payload is a semaphore of cells (package permits).
	Permits bool
	// Readers says that the payload is a reader-writer lock (package rw).
	Readers bool
	// Members says that the payload is a barrier (package barrier).
	Members bool
	// Part says that the payload begins with the offset (8 bytes) and generation (4) of the object that this one is part of.
	// It has no name, and is freed by who sweeps up when that object's memory is not its any more.
	Part bool
	// Passage says that the payload is a queue (package queued), through which memory is passed.
	Passage bool
	// AnyGuarded opens every object that is Guarded, whatever its kind.
	AnyGuarded bool
	// Except is a kind that AnyGuarded does not open: the holder of such a lock is more than a process.
	Except string
	// AnyCode opens every object of the kind that has a code, whatever its Hash (CodeOfRef).
	AnyCode bool
}

const maxTypeName = 500

// New makes an object of size bytes under a name of at most 200 bytes of UTF-8 ("" is none), attaches r to it
// and returns its memory. init fills the memory, which is zeroed, before anybody else can see it. The errors
// are fs.ErrExist if the name is taken, fs.ErrInvalid if it is too long or no UTF-8, ErrNoSpace,
// ErrCorrupt, os.ErrClosed and init's.
func (k Kind) New(r *Ref, seg *Segment, name string, size int, init func(mem []byte) error) ([]byte, error) {
	err := r.unused()
	if err == nil {
		err = k.make(r, seg, name, size, init)
	}
	if err != nil {
		return nil, fmt.Errorf("shm: new %s %q: %w", k.Name, name[:min(len(name), maxName)], err)
	}
	return r.mem, nil
}

// Open finds the object name, attaches r to it and returns its memory. The errors are fs.ErrNotExist,
// ErrKind, ErrCorrupt, os.ErrClosed, and ErrNoSpace when there is no memory to note one process more than the first
// eight that have it open at a time.
func (k Kind) Open(r *Ref, seg *Segment, name string) ([]byte, error) {
	err := k.open(r, seg, name)
	if err != nil {
		return nil, fmt.Errorf("shm: open %s %q: %w", k.Name, name[:min(len(name), maxName)], err)
	}
	return r.mem, nil
}

// OpenOrNew does whichever succeeds; of many callers exactly one makes the object. With the name "" it is New.
func (k Kind) OpenOrNew(r *Ref, seg *Segment, name string, size int, init func(mem []byte) error) ([]byte, error) {
	for {
		if name != "" {
			if m, err := k.Open(r, seg, name); !errors.Is(err, fs.ErrNotExist) {
				return m, err
			}
		}
		m, err := k.New(r, seg, name, size, init)
		if _, own := errors.AsType[initError](err); own || !errors.Is(err, fs.ErrExist) {
			return m, err
		}
	}
}

// Unmarshal attaches r to the object whose handle data is (see Ref.MarshalBinary) and returns its memory. The
// segment is found among those that this process has, those that its parent handed over, and those that some
// process has of the tree that this one belongs to (package process), which is asked. That waits, for a relative
// that does not answer 5 seconds at most. Last, a segment that has a name is opened by that, if it belongs to this
// user. The errors are ErrUnreachable, ErrStale, ErrKind, ErrCorrupt, os.ErrClosed, ErrForked, and ErrNoSpace as in
// Open.
func (k Kind) Unmarshal(r *Ref, data []byte) ([]byte, error) {
	h, name, err := parseHandle(data)
	if err != nil {
		return nil, fmt.Errorf("shm: %s from a handle: %w", k.Name, err)
	}
	return k.openHandle(r, h, name)
}

// OpenHandle is Unmarshal of a Handle, which has no name of the segment.
func (k Kind) OpenHandle(r *Ref, h Handle) ([]byte, error) { return k.openHandle(r, h, "") }

// OpenIn is OpenHandle of an object in seg, of which h names no more than the place: a process may have a segment more
// than once, and one of them can be closed alone.
func (k Kind) OpenIn(r *Ref, seg *Segment, h Handle) ([]byte, error) {
	if err := k.attach(r, seg, h.Offset, h.Generation); err != nil {
		return nil, fmt.Errorf("shm: %s from a handle: %w", k.Name, err)
	}
	return r.mem, nil
}

// PartIn is the memory of the object at an offset in seg that has this kind, a Part of that of which whole is a handle. It stays that
// object's for as long as whole is reachable, so nothing is noted of it, and no memory is needed to use it. The errors are
// ErrStale, ErrKind and ErrCorrupt.
func (k Kind) PartIn(seg *Segment, whole *Ref, offset uint64, generation uint32) ([]byte, error) {
	defer runtime.KeepAlive(whole)
	lives := func(o *object) bool { return o.State.Load() == uint64(generation)<<4|stateLive }
	_, size, _, err := k.admit(seg, offset, lives)
	if err == nil {
		if of, gen := seg.partOf(offset); size < partSize || seg.object(offset).Owners != partOf || of != whole.off || gen != whole.gen {
			err = fmt.Errorf("%w: it is no part of the object at %d", ErrCorrupt, whole.off)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("shm: %s at %d: %w", k.Name, offset, err)
	}
	at := offset + objectHead
	return seg.memory[at : at+size : at+size], nil
}

func (k Kind) openHandle(r *Ref, h Handle, segment string) ([]byte, error) {
	s, err := table.resolve(h.Segment, segment)
	if err == nil {
		err = k.attach(r, s, h.Offset, h.Generation)
	}
	if err != nil {
		return nil, fmt.Errorf("shm: %s from a handle: %w", k.Name, err)
	}
	return r.mem, nil
}

// make makes an object and attaches r to it.
func (k Kind) make(r *Ref, seg *Segment, name string, size int, init func(mem []byte) error) error {
	defer runtime.KeepAlive(seg)
	if err := seg.begin(); err != nil {
		return err
	}
	defer seg.end()
	if err := checkName(name); err != nil {
		return err
	}
	if size < 0 || len(k.Name) > len(object{}.Kind) {
		return fmt.Errorf("%w: size %d, kind %q", os.ErrInvalid, size, k.Name)
	}
	if name != "" { // before memory is spent
		if f, err := seg.lookup(name); f.off != 0 || err != nil {
			return cmp.Or(err, fs.ErrExist)
		}
	}
	typ := k.Type[:min(len(k.Type), maxTypeName)]
	off, fresh, err := seg.obtain(uint64(size) + uint64(len(name)+len(typ)))
	if err != nil {
		return err
	}
	o := seg.object(off)
	if err := k.fill(seg, off, fresh, name, typ, size, init); err != nil {
		seg.keep(off)
		return err
	}
	// Its own handle, before others can free it.
	if err := seg.pin(off); err != nil {
		seg.keep(off)
		return err
	}
	if name != "" {
		if linked, err := seg.link(off, name); !linked || err != nil {
			seg.unpin(off)
			seg.keep(off)
			return cmp.Or(err, fs.ErrExist)
		}
	}
	o.publish()
	crashpoint.Hit("shm/new/published")
	gen := generationOf(o.State.Load())
	err = r.attach(seg, off, gen, name, uint64(size))
	r.code = k.Code
	if err != nil && name == "" { // nobody else will ever find it
		seg.freeObject(found{off, uint64(gen)<<4 | stateLive})
	}
	return err
}

// fill makes the block at off, which this process has in state NEW, an object.
func (k Kind) fill(seg *Segment, off uint64, fresh bool, name, typ string, size int, init func(mem []byte) error) error {
	o := seg.object(off)
	o.Hash, o.Size, o.Code = k.Hash, uint64(size), uint8(k.Code)
	o.Kind = [8]byte{}
	copy(o.Kind[:], k.Name)
	o.NameLen, o.TypeLen = uint16(len(name)), uint16(len(typ))
	o.Created, o.Creator, o.CreatorPid = time.Now().UnixNano(), seg.self, uint32(os.Getpid())
	o.Owners = ownerWords{}
	if k.Guarded {
		o.Owners = robustWord
	}
	if k.Permits {
		o.Owners = permitCells(o.Size)
	}
	if k.Readers {
		o.Owners = readerCells
	}
	if k.Members {
		o.Owners = barrierCells(o.Size)
	}
	if k.Part {
		o.Owners = partOf
	}
	if k.Passage {
		o.Owners = passage
	}
	at := off + objectHead
	mem, text := seg.memory[at:at+uint64(size):at+uint64(size)], seg.memory[at+uint64(size):]
	if !fresh {
		clear(mem)
	}
	copy(text, name)
	copy(text[len(name):], typ)
	crashpoint.Hit("shm/new/described")
	if init != nil {
		if err := init(mem); err != nil {
			return initError{err}
		}
	}
	crashpoint.Hit("shm/new/filled")
	return nil
}

// describe names a kind and its element type, whose hash tells apart types of one name whose fields differ.
func describe(kind, typ string, hash uint64) string {
	if typ == "" {
		return kind
	}
	return fmt.Sprintf("%s of %s (structure %016x)", kind, typ, hash)
}

// initError tells an error of the caller's init from one of the directory.
type initError struct{ error }

func (e initError) Unwrap() error { return e.error }

func (k Kind) open(r *Ref, seg *Segment, name string) error {
	defer runtime.KeepAlive(seg)
	if err := seg.usable(); err != nil {
		return err
	}
	if err := checkName(name); err != nil {
		return err
	}
	if name == "" {
		return fs.ErrNotExist
	}
	for {
		f, err := seg.lookup(name)
		if f.off == 0 || err != nil {
			return cmp.Or(err, fs.ErrNotExist)
		}
		if err := k.attach(r, seg, f.off, generationOf(f.state)); err != ErrStale {
			return err
		}
	}
}

// attach makes r a handle of the object at off, whose generation is gen. The error is ErrStale itself if there is no
// such object any more.
func (k Kind) attach(r *Ref, seg *Segment, off uint64, gen uint32) error {
	defer runtime.KeepAlive(seg)
	if err := r.unused(); err != nil {
		return err
	}
	lives := func(o *object) bool { return o.State.Load() == uint64(gen)<<4|stateLive } // PAIRS WITH free: the state is set
	if o, _, err := seg.block(off); err != nil {
		return err
	} else if !lives(o) {
		return ErrStale
	}
	crashpoint.Hit("shm/open/looked")
	if err := seg.pin(off); err != nil {
		return err
	}
	name, size, code, err := k.admit(seg, off, lives)
	if err == nil {
		err = r.attach(seg, off, gen, name, size)
		r.code = code
	} else {
		seg.unpin(off)
	}
	return err
}

// admit checks that the pinned object at off, of which lives tells whether it is the one meant, is of this kind.
func (k Kind) admit(seg *Segment, off uint64, lives func(*object) bool) (name string, size uint64, code Code, err error) {
	o, room, err := seg.block(off)
	if err != nil {
		return "", 0, 0, err
	}
	if !lives(o) {
		return "", 0, 0, ErrStale
	}
	size, text, typ, err := seg.texts(off, o, room)
	if err != nil {
		return "", 0, 0, err
	}
	kind, hash, code, guarded := kindName(o.Kind), o.Hash, Code(o.Code), o.Owners == robustWord && size >= robust.Size
	if known := code.hash(); k.AnyCode && kind == k.Name && known != 0 {
		if known != hash {
			return "", 0, 0, fmt.Errorf("%w: code %q of %s at %d", ErrCorrupt, code, describe(kind, string(typ), hash), off)
		}
	} else if !(k.AnyGuarded && guarded && kind != k.Except) && (k.AnyCode || kind != k.Name || hash != k.Hash) {
		asked := describe(k.Name, k.Type, k.Hash)
		if k.AnyCode {
			asked = k.Name + " of a C type"
		}
		is := describe(kind, string(typ), hash)
		if k.AnyGuarded && !guarded {
			is += ", which has no lock of its own"
		}
		if !k.AnyCode && kind == k.Name && k.Type != "" && string(typ) == k.Type {
			asked += ", whose fields differ"
		}
		return "", 0, 0, fmt.Errorf("%w: it is %s, asked for %s", ErrKind, is, asked)
	}
	if size < uint64(k.Min) {
		return "", 0, 0, fmt.Errorf("%w: %s of %d bytes at %d", ErrCorrupt, k.Name, size, off)
	}
	return string(text), size, code, nil
}

func kindName(b [8]byte) string {
	n := 0
	for n < len(b) && b[n] != 0 {
		n++
	}
	return string(b[:n])
}
