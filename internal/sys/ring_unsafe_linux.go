package sys

import (
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// FutexRing is an io_uring on which many words are waited for at once, each by a wait of its own, without a thread (Linux
// 6.7). Its methods may be called by one goroutine at a time, but for Sleep.
type FutexRing struct {
	fd    int
	event *os.File // an eventfd, which counts completions

	rings, sqes []byte // mapped
	sq          struct{ head, tail, flags *atomic.Uint32 }
	cq          struct{ head, tail *atomic.Uint32 }
	queue       []ringEntry
	done        []ringResult
}

// ringEntry is the kernel's struct io_uring_sqe, as far as waits and cancellations use it.
type ringEntry struct {
	opcode, flags uint8
	_             uint16
	fd            uint32 // of a futex: its flags
	value, addr   uint64 // off and addr
	_             uint64 // len and flags
	id            uint64 // user_data
	_             uint64
	mask          uint64 // addr3
	_             uint64
}

// ringResult is its struct io_uring_cqe.
type ringResult struct {
	id    uint64
	res   int32
	flags uint32
}

// ringParams is its struct io_uring_params.
type ringParams struct {
	sqEntries, cqEntries, flags, cpu, idle, features, wq uint32
	_                                                    [3]uint32
	sq                                                   struct {
		head, tail, mask, entries, flags, dropped, array, _ uint32
		_                                                   uint64
	}
	cq struct {
		head, tail, mask, entries, overflow, cqes, flags, _ uint32
		_                                                   uint64
	}
}

// ringProbe is its struct io_uring_probe, for all operations.
type ringProbe struct {
	last, n uint8
	_       [14]byte
	ops     [256]struct {
		op, _ uint8
		flags uint16
		_     uint32
	}
}

const (
	ringAsyncCancel = 14
	ringFutexWait   = 51

	ringSkipSuccess = 1 << 6 // of an entry: nothing is reported but an error (Linux 5.17)

	ringSingleMap  = 1 << 0 // features
	ringNoDrop     = 1 << 1
	ringSetCQ      = 1 << 3 // set-up flag
	ringOverflow   = 1 << 1 // of the queue
	ringGetEvents  = 1 << 0 // of enter
	ringSetEvent   = 4      // of register
	ringAskOps     = 8
	ringQueueAt    = 0x10000000 // where the entries are mapped
	ringQueueWords = 8
)

// NewFutexRing makes a ring for at most n waits. It is an error if the kernel cannot, or does not let this process.
func NewFutexRing(n int) (*FutexRing, error) {
	p := ringParams{flags: ringSetCQ, cqEntries: uint32(max(n, ringQueueWords))}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, ringQueueWords, uintptr(unsafe.Pointer(&p)), 0) // close-on-exec
	if errno != 0 {
		return nil, os.NewSyscallError("io_uring_setup", errno)
	}
	r := &FutexRing{fd: int(fd)}
	if err := r.open(&p); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *FutexRing) open(p *ringParams) error {
	up, err := aboveStreams(r.fd)
	if err != nil {
		return err
	}
	r.fd = up
	var probe ringProbe
	if err := r.register(ringAskOps, unsafe.Pointer(&probe), len(probe.ops)); err != nil {
		return err
	}
	const supported, needs = 1, ringSingleMap | ringNoDrop
	if probe.ops[ringFutexWait].flags&supported == 0 || p.features&needs != needs {
		return errors.ErrUnsupported
	}

	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	if event, err = aboveStreams(event); err != nil {
		return err
	}
	r.event = os.NewFile(uintptr(event), "eventfd")
	if err := r.event.SetReadDeadline(time.Time{}); err != nil { // the netpoller has not taken it: Sleep would not sleep
		return err
	}
	fd := int32(event)
	if err := r.register(ringSetEvent, unsafe.Pointer(&fd), 1); err != nil {
		return err
	}

	const rw, shared = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED | unix.MAP_POPULATE
	size := max(int(p.sq.array+4*p.sqEntries), int(p.cq.cqes)+int(p.cqEntries)*int(unsafe.Sizeof(ringResult{})))
	if r.rings, err = unix.Mmap(r.fd, 0, size, rw, shared); err != nil {
		return os.NewSyscallError("mmap", err)
	}
	if r.sqes, err = unix.Mmap(r.fd, ringQueueAt, int(p.sqEntries)*int(unsafe.Sizeof(ringEntry{})), rw, shared); err != nil {
		return os.NewSyscallError("mmap", err)
	}
	word := func(at uint32) *atomic.Uint32 { return (*atomic.Uint32)(unsafe.Pointer(&r.rings[at])) }
	r.sq.head, r.sq.tail, r.sq.flags = word(p.sq.head), word(p.sq.tail), word(p.sq.flags)
	r.cq.head, r.cq.tail = word(p.cq.head), word(p.cq.tail)
	r.queue = unsafe.Slice((*ringEntry)(unsafe.Pointer(&r.sqes[0])), p.sqEntries)
	r.done = unsafe.Slice((*ringResult)(unsafe.Pointer(&r.rings[p.cq.cqes])), p.cqEntries)
	for i := range p.sqEntries {
		word(p.sq.array + 4*i).Store(i)
	}
	return nil
}

func (r *FutexRing) register(what uintptr, arg unsafe.Pointer, n int) error {
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(r.fd), what, uintptr(arg), uintptr(n), 0, 0)
	if errno != 0 {
		return os.NewSyscallError("io_uring_register", errno)
	}
	return nil
}

// Wait lets a word be waited for, under a number other than 0 that no wait has yet. After an error nothing waits.
func (r *FutexRing) Wait(w FutexExpected, id uint64) error {
	f := w.waiter
	return r.submit(ringEntry{opcode: ringFutexWait, fd: f.flags, value: f.val, addr: f.uaddr, id: id, mask: futexMatchAny})
}

// Cancel ends a wait, which completes with ECANCELED, or completes as woken if it was meanwhile.
func (r *FutexRing) Cancel(id uint64) error {
	return r.submit(ringEntry{opcode: ringAsyncCancel, flags: ringSkipSuccess, addr: id})
}

// submit gives the kernel an entry. It takes all there are or none: there is never more than one.
func (r *FutexRing) submit(e ringEntry) error {
	tail := r.sq.tail.Load()
	r.queue[tail%uint32(len(r.queue))] = e
	r.sq.tail.Store(tail + 1)
	if err := r.enter(1, 0); err != nil && r.sq.head.Load() != tail+1 {
		r.sq.tail.Store(tail)
		return err
	}
	return nil
}

func (r *FutexRing) enter(n, flags uintptr) error {
	for {
		switch _, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), n, 0, flags, 0, 0); errno {
		case 0:
			return nil
		case unix.EINTR:
			if n != 0 && r.sq.head.Load() == r.sq.tail.Load() {
				return nil
			}
		default:
			return os.NewSyscallError("io_uring_enter", errno)
		}
	}
}

// Completed calls f for each wait that has ended: with nil if it was woken, EAGAIN if the word was another, ECANCELED, or
// what else went wrong.
func (r *FutexRing) Completed(f func(id uint64, err error)) {
	for {
		head, tail := r.cq.head.Load(), r.cq.tail.Load()
		for ; head != tail; head++ {
			if c := r.done[head%uint32(len(r.done))]; c.id != 0 { // not of a cancellation that came too late
				f(c.id, errnoOrNil(unix.Errno(-min(c.res, 0))))
			}
		}
		r.cq.head.Store(head)
		if r.sq.flags.Load()&ringOverflow == 0 || r.enter(0, ringGetEvents) != nil {
			return
		}
	}
}

// Sleep returns when a wait has completed since the last Sleep, or at a time. It waits in the netpoller.
func (r *FutexRing) Sleep(until time.Time) {
	var count [8]byte
	r.event.SetReadDeadline(until)
	r.event.Read(count[:])
}

// Close ends all waits. They do not complete.
func (r *FutexRing) Close() {
	for _, mem := range [][]byte{r.rings, r.sqes} {
		if mem != nil {
			unix.Munmap(mem)
		}
	}
	if r.event != nil {
		r.event.Close()
	}
	unix.Close(r.fd)
	runtime.KeepAlive(r)
}
