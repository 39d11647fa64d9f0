package sys

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// controlBuffer is what a control socket may hold that its reader has not read.
const controlBuffer = 256 << 10

// ControlPair returns the two ends of the socket between a parent and its child (SOCK_SEQPACKET: messages
// keep their borders, and the end-of-file of one end says that nobody has the other). Both are close-on-exec;
// ours is in the netpoller, theirs is to be inherited and then adopted with AdoptControl.
func ControlPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	for i, fd := range fds {
		if fd, err = aboveStreams(fd); err != nil {
			break
		}
		fds[i] = fd
		// The default may have been lowered below the size of a message. The kernel cuts at net.core.wmem_max.
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, controlBuffer))
		if err != nil {
			break
		}
	}
	if err == nil {
		err = os.NewSyscallError("fcntl", unix.SetNonblock(fds[0], true))
	}
	if err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control"), nil
}

// AdoptControl takes over an inherited descriptor as this process's end of a ControlPair. It is an error, and fd
// stays as it was, if that is something else.
func AdoptControl(fd int) (*os.File, error) {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return nil, os.NewSyscallError("getsockopt", err)
	}
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return nil, os.NewSyscallError("getsockopt", err)
	}
	if kind != unix.SOCK_SEQPACKET || family != unix.AF_UNIX {
		return nil, fmt.Errorf("descriptor %d is not a control socket", fd)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), "control"), nil
}

// packetFiles is how many descriptors a packet may carry.
const packetFiles = 2

// SendPacket writes p as one packet to control socket f, with copies of at most two descriptors. Those are in the
// socket, and keep what they stand for open, until the packet is read or both ends of the socket are gone.
func SendPacket(f *os.File, p []byte, files ...*os.File) error {
	fds := make([]int, len(files))
	send := func() error {
		var rights []byte
		if len(fds) > 0 {
			rights = unix.UnixRights(fds...)
		}
		c, err := f.SyscallConn()
		if err != nil {
			return err
		}
		var failed error
		err = c.Write(func(fd uintptr) bool {
			for failed = unix.EINTR; failed == unix.EINTR; {
				_, failed = unix.SendmsgN(int(fd), p, rights, nil, unix.MSG_NOSIGNAL)
			}
			return failed != unix.EAGAIN
		})
		return errors.Join(err, os.NewSyscallError("sendmsg", failed))
	}
	// Each descriptor stays open, with its number, until it was sent.
	for i, file := range files {
		next := send
		send = func() error {
			return control(file, func(fd int) error {
				fds[i] = fd
				return next()
			})
		}
	}
	return send()
}

// ReceivePacket reads one packet into p, and the descriptors that came with it, which are close-on-exec and the
// caller's. cut says that there were more than two, or more than this process may have. The error is io.EOF at the
// end.
func ReceivePacket(f *os.File, p []byte) (n int, files []*os.File, cut bool, err error) {
	c, err := f.SyscallConn()
	if err != nil {
		return 0, nil, false, err
	}
	rights := make([]byte, unix.CmsgSpace(4*packetFiles))
	var failed error
	var length, flags int
	err = c.Read(func(fd uintptr) bool {
		for failed = unix.EINTR; failed == unix.EINTR; {
			n, length, flags, _, failed = unix.Recvmsg(int(fd), p, rights, unix.MSG_CMSG_CLOEXEC)
		}
		return failed != unix.EAGAIN
	})
	if err != nil {
		return 0, nil, false, err
	}
	if failed != nil {
		return 0, nil, false, os.NewSyscallError("recvmsg", failed)
	}
	if length > 0 {
		files = received(rights[:length])
	}
	if n == 0 {
		for _, file := range files {
			file.Close()
		}
		return 0, nil, false, io.EOF
	}
	return n, files, flags&unix.MSG_CTRUNC != 0, nil
}

// received are the files of the descriptors in a control message.
func received(rights []byte) (files []*os.File) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil // the kernel wrote it
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue // something else, which was not asked for
		}
		for _, fd := range fds {
			if up, err := aboveStreams(fd); err == nil {
				fd = up
			}
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files
}

// SetCloseOnExec keeps an inherited descriptor from the programs that this process starts. The error is EBADF
// if fd is not open.
func SetCloseOnExec(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC)
	return os.NewSyscallError("fcntl", err)
}

// OneFile reports whether both descriptors are open and lead to one regular file.
func OneFile(a, b int) bool {
	var s, t unix.Stat_t
	return unix.Fstat(a, &s) == nil && unix.Fstat(b, &t) == nil &&
		s.Mode&unix.S_IFMT == unix.S_IFREG && s.Dev == t.Dev && s.Ino == t.Ino
}

// Unread is the number of bytes in pipe or socket f that wait to be read.
func Unread(f *os.File) (n int, err error) {
	err = control(f, func(fd int) (err error) {
		n, err = unix.IoctlGetInt(fd, unix.TIOCINQ)
		return err
	})
	return n, os.NewSyscallError("ioctl", err)
}

// Mark returns two files; read is readable (at its end) from the moment on at which write is closed. Both are
// close-on-exec.
func Mark() (read, write *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	for i, fd := range fds {
		if fds[i], err = aboveStreams(fd); err != nil {
			unix.Close(fds[0])
			unix.Close(fds[1])
			return nil, nil, err
		}
	}
	return os.NewFile(uintptr(fds[0]), "mark"), os.NewFile(uintptr(fds[1]), "mark"), nil
}

// AwaitExit returns when child pid of this process has ended, and leaves it to be waited for. It costs no
// thread: see AwaitEnd. An error says that this does not work here.
func AwaitExit(pid int) error {
	f, err := OpenProcess(pid)
	if err != nil {
		return err
	}
	defer f.Close()
	return AwaitEnd(f)
}

// OpenProcess returns a descriptor of process pid for AwaitEnd (pidfd_open, Linux 5.10 for what is asked of
// it). The error is ESRCH if there is no such process.
func OpenProcess(pid int) (*os.File, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	if fd, err = aboveStreams(fd); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

// AwaitEnd returns nil when the process that OpenProcess opened has ended. It waits in the netpoller. An error says
// that it did not: f was closed, or cannot be polled here.
func AwaitEnd(f *os.File) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = c.Read(func(fd uintptr) bool { // reading a pidfd is EINVAL, so poll takes the place of read
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		for {
			n, err := unix.Poll(poll, 0)
			if err == unix.EINTR {
				continue
			}
			failed = os.NewSyscallError("poll", err)
			return n == 1 || err != nil
		}
	})
	if err != nil {
		return err
	}
	return failed
}

// StopProcess sends SIGSTOP to child pid of this process and returns when all its threads have stopped. It is an
// error if the child has ended.
func StopProcess(pid int) error {
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		return os.NewSyscallError("kill", err)
	}
	return AwaitStopped(pid)
}

// AwaitStopped waits until all threads of child pid of this process have stopped. It is an error if the child
// has ended.
func AwaitStopped(pid int) error {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return os.NewSyscallError("waitid", err)
		case info.Code != cldStopped:
			return fmt.Errorf("process %d has ended: %w", pid, os.ErrProcessDone)
		}
		return nil
	}
}

// NoProcess reports whether no process of this process's pid namespace has that number; one that has ended and was
// not waited for has.
func NoProcess(pid int) bool { return pid > 0 && unix.Kill(pid, 0) == unix.ESRCH }

// cldStopped is si_code of a child that has stopped (CLD_STOPPED), which package unix lacks.
const cldStopped = 5

// ContinueProcess sends SIGCONT to process pid.
func ContinueProcess(pid int) error { return os.NewSyscallError("kill", unix.Kill(pid, unix.SIGCONT)) }

// SignalSelf kills (SIGKILL) or stops (SIGSTOP) this process, at once: the signal is sent to the calling
// thread, which does not come back from the call before it is dead, or continued.
func SignalSelf(kill bool) {
	sig := unix.SIGSTOP
	if kill {
		sig = unix.SIGKILL
	}
	unix.Tgkill(unix.Getpid(), unix.Gettid(), sig)
}

// FileID tells files apart, those included that had the same name one after the other; "" if there is none. (The
// time of change is not part of it: nobody can write to a program that runs, but anybody who may can touch it.)
func FileID(path string) string {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return ""
	}
	b := strconv.AppendUint(nil, uint64(st.Dev), 10)
	b = strconv.AppendUint(append(b, ' '), uint64(st.Ino), 10)
	return string(strconv.AppendInt(append(b, ' '), int64(st.Size), 10))
}
