package shm

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/edsrzf/mmap-go"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/inherit"
	"github.com/shoal-ipc/shoal/internal/sys"
)

// A segment with a name is a file in memoryDir, called filePrefix and the name. It appears there complete: it
// is laid out in a file that cannot be seen, joined, and then given its name by one system call, which fails
// if the name is taken. So of many that create a name one succeeds, and who is killed before leaves nothing,
// or (see wayRename) a file that everybody knows to be a leftover.
//
// The name can be taken away at any time, and another segment can then get it. Two programs that agreed on a
// name must not end up in two segments because one of them was slow. Bytes of the file, locked as those of
// participants are, see to that:
//
//	attachByte  shared by who opens the segment, from before it looks at the header until it has joined and has
//	            seen that the name still leads to this file (else it leaves, and starts again); exclusively by
//	            who decides that nobody has the segment (Fresh), until the name is gone.
//	removeByte  exclusively by who takes the name away, from before it looks whether the name leads to this file
//	            until the name is gone. Names are removed by name: without it who is slow would remove a newer
//	            segment's.
//	makeByte    shared by who makes a file under a name that nobody is to use yet, until it has its own;
//	            exclusively by who decides that it is a leftover, until it is gone. (The file may have got its
//	            name before that, so this is a byte that nobody asks for then.)
//
// The locks go with their process, so a kill leaves nothing, whatever it was doing. A stop between locking
// and unlocking (some microseconds) holds up as follows, and nobody waits for longer than patience:
//
//	who opens                 nobody; Fresh takes it for a participant, and opens the segment
//	who removes               Remove and Fresh of that name, which then fail
//	who has decided (Fresh)   these, and all that open that name, which then fail
//	who removes a leftover    nobody: its name is never used again
//
// The errors then wrap os.ErrDeadlineExceeded and say who could help: the operator, by ending the stopped
// process or by removing the file. That is no statement about the other's death.
const (
	memoryDir  = "/dev/shm"
	filePrefix = "shoal."
	// tempPrefix begins the names of files that are not segments yet. No segment's name begins with a dot.
	tempPrefix = ".shoal."

	maxSegmentName = 200

	attachByte = lockBase - 1
	removeByte = lockBase - 2
	makeByte   = lockBase - 3

	// patience is how long a call waits for another process that is in the middle of a few system calls.
	patience = 2 * time.Second
)

// errMoved says that the name leads to another file than it did; start again.
var errMoved = errors.New("shm: the name was removed meanwhile")

func checkSegmentName(name string) error {
	ok := len(name) >= 1 && len(name) <= maxSegmentName && name[0] != '.'
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-')
	}
	if !ok {
		return fmt.Errorf("%w: the name of a segment is 1 to %d of A-Z a-z 0-9 . _ -, and does not begin with a dot",
			fs.ErrInvalid, maxSegmentName)
	}
	return nil
}

// Create makes the segment name; it fails with fs.ErrExist if there is one. The segment is seen by others
// when it is complete, and stays until somebody removes it, or the machine is restarted: see Remove.
//
// A name is 1 to 200 letters, digits, dots, underscores and hyphens (ASCII), and does not begin with a dot;
// it names the file /dev/shm/shoal.<name>. size is that of Anonymous, and so are the errors; further ones are
// fs.ErrInvalid, fs.ErrPermission, and errors.ErrUnsupported if there is no tmpfs at /dev/shm.
func Create(name string, size int, opts ...Options) (*Segment, error) {
	o := only(opts)
	return enterNamed("create", name, o, func(p *place) (*Segment, error) { return p.create(size, o) })
}

// Open maps the segment name; it fails with fs.ErrNotExist if there is none.
//
// The segment must belong to this user and must not be open to more users than Options.Mode says, else the
// error is fs.ErrPermission (see Options.Foreign). What is no segment, or was damaged, is ErrCorrupt; another
// format is ErrVersion. A process may open a name more than once, and takes part in the segment once: each
// Segment has its own handles and its own Close.
func Open(name string, opts ...Options) (*Segment, error) {
	o := only(opts)
	return enterNamed("open", name, o, func(p *place) (*Segment, error) { return p.attach(0, nil, o) })
}

// OpenOrCreate does whichever succeeds; of many callers exactly one creates. A larger existing size stands, a
// smaller one is ErrSize; size 0 takes what there is. With Options.Fresh a segment that no living process has
// is replaced by a new one; what was in it is lost. One that somebody has is opened: who must be the first there
// learns of others by making an object with a name, which is fs.ErrExist then.
func OpenOrCreate(name string, size int, opts ...Options) (*Segment, error) {
	o := only(opts)
	return enterNamed("open or create", name, o, func(p *place) (*Segment, error) {
		if _, err := sizeOf(size, p.page); err != nil {
			return nil, err
		}
		if o.Fresh {
			if err := p.freshen(o); err != nil {
				return nil, err
			}
		}
		for {
			if s, err := p.attach(size, nil, o); !errors.Is(err, fs.ErrNotExist) {
				return s, err
			}
			if s, err := p.create(size, o); !errors.Is(err, fs.ErrExist) {
				return s, err
			}
		}
	})
}

// OpenReadOnly maps the segment name for looking only: this process becomes no participant, nobody counts it
// as a user, and nothing in the segment can be changed. Info, Objects, Participants and Check work; making
// and opening objects is fs.ErrPermission, and Self is 0. It opens what the file's permissions let this
// process read: as root everything. (Whoever owns a foreign segment can cut its file off, and a look at what
// is missing then is a fatal SIGBUS. Stat and List, which look once, survive that.)
func OpenReadOnly(name string) (*Segment, error) {
	return enterNamed("open for reading", name, Options{}, func(p *place) (*Segment, error) {
		r, uuid, err := p.look()
		if err != nil {
			return nil, err
		}
		return enter(r, uuid, p.name), nil
	})
}

// Remove deletes the name; processes that have the segment mapped keep it, and its memory is freed with the
// last of them. The name can be used again at once. It fails with fs.ErrNotExist if there is no such segment;
// whether the file in its place is one is not looked at.
func Remove(name string) error {
	_, err := enterNamed("remove", name, Options{}, func(p *place) (*Segment, error) {
		for {
			err := p.removeOnce(Options{Foreign: true}, false)
			if err != errMoved {
				return nil, err
			}
		}
	})
	return err
}

// Stat describes one segment without joining it. It needs the permission to read the file, no more.
func Stat(name string) (in Info, err error) {
	_, err = enterNamed("stat", name, Options{}, func(p *place) (*Segment, error) {
		in, err = p.stat()
		return nil, err
	})
	return in, err
}

// List describes the segments of this user; to root it shows those of everybody. The error joins what is
// wrong with each of those that are left out. What a killed Create left is removed.
func List() ([]Info, error) {
	if err := supported(); err != nil {
		return nil, fmt.Errorf("shm: list: %w", err)
	}
	p, err := openPlace("")
	if err != nil {
		return nil, fmt.Errorf("shm: list: %w", err)
	}
	defer p.close()
	names, err := sys.ListDir(p.dir)
	if err != nil {
		return nil, fmt.Errorf("shm: list: %w", err)
	}
	p.collect(names)
	var list []Info
	var wrong []error
	for _, file := range names {
		name, ok := strings.CutPrefix(file, filePrefix)
		if !ok {
			continue
		}
		info, err := os.Lstat(memoryDir + "/" + file)
		if err != nil || os.Geteuid() != 0 && sys.Owner(info) != os.Geteuid() {
			continue
		}
		in, err := Info{}, checkSegmentName(name)
		if err == nil {
			at := place{p.dir, p.page, name}
			in, err = at.stat()
		}
		switch {
		case err == nil:
			list = append(list, in)
		case !errors.Is(err, fs.ErrNotExist): // removed meanwhile
			wrong = append(wrong, fmt.Errorf("shm: list %q: %w", name, err))
		}
	}
	return list, errors.Join(wrong...)
}

// openNamed opens the segment name of a handle, which must have that UUID. The file may be open to others
// than its owner, who is this user: the handle comes from somebody who knows that.
func openNamed(name string, id inherit.UUID) (*Segment, error) {
	p, err := openPlace(name)
	if err == nil {
		defer p.close()
		var s *Segment
		if s, err = p.attach(0, &id, Options{Mode: 0o666}); err == nil {
			return s, nil
		}
	}
	return nil, fmt.Errorf("%w: segment %q, UUID %s: %w", ErrUnreachable, name, hex.EncodeToString(id[:]), err)
}

// place is where a segment with a name is, or is to be.
type place struct {
	dir  *os.File
	page int
	name string
}

func openPlace(name string) (*place, error) {
	dir, page, err := sys.MemoryDir(memoryDir)
	if err != nil {
		return nil, err
	}
	return &place{dir, page, name}, nil
}

func (p *place) close() { p.dir.Close() }

func (p *place) file() string { return filePrefix + p.name }

// enterNamed does what is to be done at a name.
func enterNamed(verb, name string, o Options, do func(p *place) (*Segment, error)) (*Segment, error) {
	s, err := whenCollected(func() (*Segment, error) {
		if err := errors.Join(supported(), checkSegmentName(name), o.check()); err != nil {
			return nil, err
		}
		p, err := openPlace(name)
		if err != nil {
			return nil, err
		}
		defer p.close()
		return do(p)
	})
	what := ""
	switch {
	case err == nil:
		return s, nil
	case errors.Is(err, syscall.EROFS):
		what = " (" + memoryDir + " is mounted for reading only)"
	case errors.Is(err, syscall.EMFILE):
		what = " (the limit of open files, ulimit -n, is too low)"
	case errors.Is(err, syscall.ENOSPC) && !errors.Is(err, ErrNoSpace):
		err = fmt.Errorf("%w: %s has no room for a file more: %w", ErrNoSpace, memoryDir, err)
	}
	return nil, fmt.Errorf("shm: %s %q: %w%s", verb, name[:min(len(name), maxSegmentName)], err, what)
}

// open opens the file in p's place, if it is one that o accepts.
func (p *place) open(o Options, write bool) (*os.File, error) {
	f, err := sys.OpenAt(p.dir, p.file(), write)
	for _, e := range []error{syscall.ELOOP, syscall.EISDIR, syscall.ENXIO} { // a link, a directory, a socket
		if errors.Is(err, e) {
			return nil, fmt.Errorf("%w: in its place is no regular file: %w", ErrCorrupt, err)
		}
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = o.accept(info)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// await calls try until it succeeds, for as long as patience lasts.
func await(try func() (bool, error)) error {
	deadline := time.Now().Add(patience)
	for pause := 20 * time.Microsecond; ; pause = min(2*pause, 5*time.Millisecond) {
		ok, err := try()
		if ok || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%w: another process is removing the name and does not get on, it may be stopped (SIGSTOP); "+
				"fuser tells who has the file open", os.ErrDeadlineExceeded)
		}
		time.Sleep(pause)
	}
}

// attach opens and joins the segment, of size bytes at least, and with the UUID id if that is given.
func (p *place) attach(size int, id *inherit.UUID, o Options) (*Segment, error) {
	if size < 0 {
		return nil, fmt.Errorf("size %d: %w", size, fs.ErrInvalid)
	}
	for {
		var s *Segment
		err := withRoom(func() (err error) {
			s, err = p.attachOnce(size, id, o)
			return err
		})
		if err == errMoved {
			continue
		}
		if err == nil {
			if err = o.apply(s.res.resources); err != nil {
				s.Close()
				s = nil
			}
		}
		return s, err
	}
}

func (p *place) attachOnce(size int, id *inherit.UUID, o Options) (*Segment, error) {
	alive, err := p.open(o, true)
	if err != nil {
		return nil, err
	}
	var r *resources
	defer func() {
		if r == nil || r.alive != alive {
			alive.Close()
		}
	}()
	if err := await(func() (bool, error) { return sys.LockByteShared(alive, attachByte) }); err != nil {
		return nil, err
	}
	defer sys.UnlockBytes(alive, attachByte, 1)
	crashpoint.Hit("shm/open/attaching")
	has, h, err := readNamed(alive)
	switch {
	case err != nil:
		return nil, err
	case id != nil && h.UUID != *id:
		return nil, fmt.Errorf("the name belongs to another segment now, UUID %x", h.UUID)
	case size > has:
		return nil, fmt.Errorf("%w: %d bytes, asked for %d", ErrSize, has, size)
	}

	// Until the segment is in the table, so that goroutines that open one name join it once.
	table.mu.Lock()
	defer table.mu.Unlock()
	other := table.find(h.UUID)
	if other == nil {
		r, err = p.join(alive, has, o)
	} else if r = other.res.resources; !sameFile(alive, r.memory) {
		r, err = nil, fmt.Errorf("%w: it is a copy of a segment that this process has, UUID %x", ErrCorrupt, h.UUID)
	}
	if err != nil {
		return nil, err
	}
	crashpoint.Hit("shm/open/joined")
	if err := p.leads(alive); err != nil {
		if other == nil {
			r.abandon()
		}
		return nil, err
	}
	crashpoint.Hit("shm/open/checked")
	s := enter(r, h.UUID, p.name)
	table.add(s, false)
	if other == nil {
		s.ring(s.self)
		s.accompany()
	}
	return s, nil
}

// join maps the segment of size bytes in the file of alive, and joins it; alive belongs to the result.
func (p *place) join(alive *os.File, size int, o Options) (*resources, error) {
	f, err := p.open(o, true)
	if err != nil {
		return nil, err
	}
	if !sameFile(f, alive) {
		f.Close()
		return nil, errMoved
	}
	mem, err := mapOnce(f, size, mmap.RDWR) // table.mu is held
	if err != nil {
		f.Close()
		return nil, err
	}
	id, err := memory(mem).claim(f, alive)
	if err != nil {
		mem.Unmap()
		f.Close()
		return nil, err
	}
	memory(mem).introduce(id, os.Getpid(), sys.PidNamespace())
	return newResources(mem, f, alive, id, true), nil
}

func sameFile(f, g *os.File) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := g.Stat()
	return err == nil && os.SameFile(a, b)
}

// leads is errMoved if p's name leads to another file than f, or to none.
func (p *place) leads(f *os.File) error {
	ok, err := sys.LeadsTo(p.dir, p.file(), f)
	if err == nil && !ok {
		return errMoved
	}
	return err
}

// readNamed is readHeader of a segment with a name.
func readNamed(f *os.File) (int, *header, error) {
	size, h, err := readHeader(f)
	if err == nil && h.Flags != flagNamed {
		err = fmt.Errorf("%w: it was made without a name", ErrCorrupt)
	}
	return size, h, err
}

// way is how a file gets its name when it is complete.
type way int

const (
	wayEmptyPath way = iota // an unnamed file, linked by its descriptor: Linux 6.10, or a privilege
	wayProc                 // an unnamed file, linked by its path in /proc
	wayRename               // a file whose name begins with tempPrefix, renamed; works without /proc
)

// wayError says that a file could not be made or named in some way; another may do.
type wayError struct{ error }

func (e wayError) Unwrap() error { return e.error }

func (p *place) create(size int, o Options) (*Segment, error) {
	return p.createBy(size, o, wayEmptyPath, wayProc, wayRename)
}

func (p *place) createBy(size int, o Options, ways ...way) (s *Segment, err error) {
	if size, err = sizeOf(size, p.page); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(memoryDir + "/" + p.file()); err == nil { // before memory is spent
		return nil, fs.ErrExist
	}
	if names, err := sys.ListDir(p.dir); err == nil {
		p.collect(names)
	}
	for _, w := range ways {
		for err = errMoved; err == errMoved; {
			s, err = p.createOnce(size, o, w)
		}
		if _, other := errors.AsType[wayError](err); !other {
			break
		}
	}
	return s, err
}

func (p *place) createOnce(size int, o Options, w way) (_ *Segment, err error) {
	f, alive, temp, err := p.newFile(o.mode(), w)
	if err != nil {
		return nil, err
	}
	var r *resources
	defer func() {
		if err == nil {
			return
		}
		if temp != "" {
			sys.RemoveAt(p.dir, temp)
		}
		if r != nil {
			r.abandon()
		}
		alive.Close()
		f.Close()
	}()
	crashpoint.Hit("shm/create/made")
	if err := f.Truncate(int64(size)); err != nil {
		return nil, sizeError(err, size)
	}
	r, uuid, err := create(f, alive, size, p.name)
	if err != nil {
		return nil, err
	}
	if err := o.apply(r); err != nil {
		return nil, err
	}
	crashpoint.Hit("shm/create/laid")
	table.mu.Lock()
	defer table.mu.Unlock()
	if err := p.link(f, temp, w); err != nil {
		return nil, err
	}
	crashpoint.Hit("shm/create/linked")
	s := enter(r, uuid, p.name)
	table.add(s, false)
	s.accompany()
	if temp != "" {
		sys.UnlockBytes(alive, makeByte, 1)
	}
	return s, nil
}

// newFile makes the file of a segment, opens it twice, and returns its name if it has one. That nobody
// removes it as a leftover is seen to by the lock of makeByte, which alive has then. After an error nothing
// is left.
func (p *place) newFile(mode fs.FileMode, w way) (f, alive *os.File, temp string, err error) {
	if w == wayRename {
		var random [16]byte
		if err := sys.Random(random[:]); err != nil {
			return nil, nil, "", err
		}
		temp = tempPrefix + hex.EncodeToString(random[:])
		f, err = sys.NewAt(p.dir, temp)
	} else {
		f, err = sys.NewUnnamedAt(p.dir)
	}
	if err != nil {
		return nil, nil, "", wayError{err}
	}
	defer func() {
		if err == nil {
			return
		}
		if temp != "" {
			sys.RemoveAt(p.dir, temp)
		}
		f.Close()
	}()
	crashpoint.Hit("shm/create/file")
	if err := f.Chmod(mode); err != nil { // which the umask has no part in
		return f, nil, temp, wayError{err}
	}
	if w != wayRename {
		if alive, err = sys.Reopen(f); err != nil {
			return f, nil, temp, wayError{err}
		}
		return f, alive, "", nil
	}
	alive, err = sys.OpenAt(p.dir, temp, true)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil, temp, errMoved // somebody took it for a leftover before it was locked
	}
	if err != nil {
		return f, nil, temp, wayError{err}
	}
	locked, err := sys.LockByteShared(alive, makeByte)
	if err == nil && !locked {
		err = errMoved
	}
	if err != nil {
		alive.Close()
		return f, nil, temp, err
	}
	return f, alive, temp, nil
}

// link makes a complete file visible.
func (p *place) link(f *os.File, temp string, w way) (err error) {
	if w == wayRename {
		err = sys.RenameAt(p.dir, temp, p.file())
		if errors.Is(err, fs.ErrNotExist) {
			return errMoved // as above
		}
	} else {
		err = sys.LinkAt(f, p.dir, p.file(), w == wayProc)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return wayError{err}
	}
	return err
}

// collect removes what creators that were killed left among the names.
func (p *place) collect(names []string) {
	for _, name := range names {
		if !strings.HasPrefix(name, tempPrefix) {
			continue
		}
		f, err := sys.OpenAt(p.dir, name, true)
		if err != nil {
			continue
		}
		info, err := f.Stat()
		if err == nil && info.Mode().IsRegular() && sys.Owner(info) == os.Geteuid() {
			if alone, err := sys.LockByte(f, makeByte); alone && err == nil {
				crashpoint.Hit("shm/collect/locked")
				sys.RemoveAt(p.dir, name)
			}
		}
		f.Close()
	}
}

// freshen removes the segment if no living process has it.
func (p *place) freshen(o Options) error {
	for {
		err := p.removeOnce(o, true)
		switch {
		case err == errMoved:
		case errors.Is(err, fs.ErrNotExist):
			return nil
		default:
			return err
		}
	}
}

// removeOnce takes the name away from the file that it leads to; with unused, only if no process has that.
func (p *place) removeOnce(o Options, unused bool) error {
	f, err := p.open(o, true)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := await(func() (bool, error) { return sys.LockByte(f, removeByte) }); err != nil {
		return err
	}
	defer sys.UnlockBytes(f, removeByte, 2) // and attachByte
	crashpoint.Hit("shm/remove/locked")
	if unused {
		alone, err := sys.LockByte(f, attachByte)
		if !alone || err != nil {
			return err
		}
		lives, err := inUse(f)
		if lives || err != nil {
			return err
		}
		crashpoint.Hit("shm/remove/decided")
	}
	if err := p.leads(f); err != nil {
		return err
	}
	crashpoint.Hit("shm/remove/checked")
	return sys.RemoveAt(p.dir, p.file())
}

// inUse reports whether a living process has the segment in f.
func inUse(f *os.File) (bool, error) {
	locked, err := sys.BytesLocked(f, lockBase, lockBytes<<32) // any byte of a participant
	if !locked || err != nil {
		return false, err
	}
	// It may be one who has left, and whose handles are not collected yet.
	size, _, err := readNamed(f)
	if err != nil {
		return true, nil // somebody may know what it is
	}
	mem, err := mapFile(f, size, mmap.RDONLY)
	if err != nil {
		return false, err
	}
	defer mem.Unmap()
	err = unlessCut(func() error {
		m := memory(mem)
		seen := m.words()
		crashpoint.Hit("shm/remove/looked")
		locked = false
		for i, w := range seen {
			if st := slotState(w); st == slotLive || st == slotClaimed {
				locked = locked || m.lives(ownerID(uint32(i), w), f)
			}
		}
		// Who lived when the words were read may have prepared a participant for another process, and have ended, before it
		// was asked for.
		locked = locked || !slices.EqualFunc(seen, m.words(), func(then, now uint32) bool {
			return then == now || then>>slotBits == now>>slotBits && slotState(now) != slotLive
		})
		return nil
	})
	return locked || err != nil, nil
}

// words are those of the slots that were ever used.
func (m memory) words() (ws []uint32) {
	for i := range min(m.header().SlotsUsed.Load(), slotCount) {
		ws = append(ws, m.slot(i).Word.Load())
	}
	return ws
}

// look maps the segment for reading.
func (p *place) look() (*resources, inherit.UUID, error) {
	f, err := p.open(Options{Foreign: true}, false)
	if err != nil {
		return nil, inherit.UUID{}, err
	}
	size, h, err := readNamed(f)
	if err != nil {
		f.Close()
		return nil, inherit.UUID{}, err
	}
	mem, err := mapFile(f, size, mmap.RDONLY)
	if err != nil {
		f.Close()
		return nil, inherit.UUID{}, err
	}
	return newResources(mem, f, nil, 0, true), h.UUID, nil
}

// stat looks once. A file that is cut off meanwhile makes it ErrCorrupt.
func (p *place) stat() (in Info, err error) {
	r, uuid, err := p.look()
	if err != nil {
		return in, err
	}
	defer r.abandon()
	err = unlessCut(func() error {
		in = r.segment(uuid, p.name).Info()
		return nil
	})
	return in, err
}
