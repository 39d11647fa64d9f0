package shm_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
)

// opener opens segments by name, and does with them what it is told to.
var opener = proctest.NewRole("opener", func(ctx context.Context, c *proctest.Child, name string) error {
	seg, err := shm.Open(name)
	if err != nil {
		return err
	}
	b, err := shm.OpenBlock(seg, "b")
	if err != nil {
		return err
	}
	b.Uint32(0).Add(1)
	c.Say("%d", seg.Self())
	c.Hear()
	runtime.KeepAlive(b)
	return nil
})

func startOpener(t *testing.T, name string) (p *proctest.Proc, id uint32) {
	t.Helper()
	p = opener.Start(t, name)
	if _, err := fmt.Sscan(p.Line(), &id); err != nil {
		t.Fatal(err)
	}
	return p, id
}

// Processes that know nothing of each other but a name share memory, and are participants as children are.
func TestNamedProcesses(t *testing.T) {
	seg, name := named(t, 0)
	b := block(t, seg, "b", 64)
	killed, kid := startOpener(t, name)
	stopped, sid := startOpener(t, name)
	if b.Uint32(0).Load() != 2 || seg.Info().Living != 3 {
		t.Errorf("%d wrote; %+v", b.Uint32(0).Load(), seg.Info())
	}
	killed.Kill()
	killed.Wait()
	stopped.Stop()
	if !seg.Dead(kid) || seg.Dead(sid) {
		t.Errorf("dead: the killed %v, the stopped %v", seg.Dead(kid), seg.Dead(sid))
	}
	stopped.Continue()
	stopped.Tell("end")
	proctest.Must(t, stopped.Wait())
	if _, err := shm.Stat(name); err != nil {
		t.Errorf("an opener's end took the segment along: %v", err)
	}
	runtime.KeepAlive(b)
}

// A child inherits a named segment by descriptors, as an anonymous one: also one whose name is gone.
func TestNamedInherited(t *testing.T) {
	for _, removed := range []bool{false, true} {
		seg, name := named(t, 0)
		b := twoIn(t, seg)
		if removed {
			proctest.Must(t, shm.Remove(name))
		}
		p, id := startVisit(t, b)
		if seg.Dead(id) || b.A.Uint32(0).Load() != 1 {
			t.Error("the child is not there")
		}
		p.Kill()
		p.Wait()
		if !seg.Dead(id) {
			t.Error("a killed child lives")
		}
		proctest.Must(t, process.Run(t.Context(), pass, passArgs{b.A}))
	}
}

// inheritsAndOpens has the segment of its argument, and opens it by name.
var inheritsAndOpens = proctest.NewRole("inherits-and-opens", func(ctx context.Context, c *proctest.Child, b *shm.Block) error {
	seg, err := shm.Open(b.Segment().Name())
	if err != nil {
		return err
	}
	if seg.Self() != b.Segment().Self() || seg.Info().Living != 2 {
		return fmt.Errorf("participants %#x and %#x: %+v", seg.Self(), b.Segment().Self(), seg.Info())
	}
	if err := seg.Close(); err != nil {
		return err
	}
	b.Uint32(0).Add(1)
	_, err = shm.NewBlock(b.Segment(), "child's", 8)
	return err
})

// A child knows the name of what it inherited, and takes part once when it opens that too.
func TestNamedInheritedAndOpened(t *testing.T) {
	seg, _ := named(t, 0)
	b := block(t, seg, "", 64)
	proctest.Must(t, inheritsAndOpens.Start(t, b).Wait())
	if _, err := shm.OpenBlock(seg, "child's"); err != nil || b.Uint32(0).Load() != 1 {
		t.Error(err)
	}
}

// A child that is given objects of two Segments of one name takes part once, too.
func TestNamedTwiceInArgument(t *testing.T) {
	seg, name := named(t, 0)
	again, err := shm.Open(name)
	proctest.Must(t, err)
	defer again.Close()
	startVisit(t, twoBlocks{block(t, seg, "", 64), block(t, again, "b", 64)})
	if n := seg.Info().Living; n != 2 {
		t.Errorf("%d participants, want this process and the child", n)
	}
}

// byHandle makes blocks of handles that come as text, in no argument.
var byHandle = proctest.NewRole("by-handle", func(ctx context.Context, c *proctest.Child, data []byte) error {
	var b, again shm.Block
	err := b.UnmarshalBinary(data)
	if err == nil {
		err = again.UnmarshalBinary(data)
	}
	switch {
	case errors.Is(err, shm.ErrUnreachable):
		c.Say("unreachable: %v", err)
		return nil
	case err != nil:
		return err
	case b.Segment() != again.Segment():
		return errors.New("one segment, mapped twice")
	}
	c.Say("%d %s", b.Uint32(0).Add(1), b.Segment().Name())
	c.Hear()
	runtime.KeepAlive(&again)
	return nil
})

// A handle finds its segment by the name that goes with it, if that leads to the same segment still.
func TestHandleByName(t *testing.T) {
	seg, name := named(t, 0, shm.Options{Mode: 0o644})
	b := block(t, seg, "", 64)
	data, err := b.MarshalBinary()
	proctest.Must(t, err)
	p := byHandle.Start(t, data)
	if line := p.Line(); line != "1 "+name {
		t.Error(line)
	}
	if n := seg.Info().Living; n != 2 {
		t.Errorf("%d participants", n)
	}
	p.Tell("end")
	proctest.Must(t, p.Wait())

	proctest.Must(t, shm.Remove(name))
	proctest.Must(t, seg.Close()) // else it gives the segment to who asks
	unreachable := func(what string) {
		t.Helper()
		line := byHandle.Start(t, data).Line()
		if !strings.HasPrefix(line, "unreachable") || !strings.Contains(line, fmt.Sprintf("%x", shm.UUID(seg))) || !strings.Contains(line, name) {
			t.Errorf("%s: %s", what, line)
		}
	}
	unreachable("removed")
	other, err := shm.Create(name, 0)
	proctest.Must(t, err)
	defer other.Close()
	unreachable("replaced")
	proctest.Must(t, os.Chown(fileOf(name), 0, -1)) // needs no privilege where it changes nothing

	for _, bad := range [][]byte{append(data, '/'), append(data, 0), append(data[:29:29], strings.Repeat("x", 300)...)} {
		if err := new(shm.Block).UnmarshalBinary(bad); !errors.Is(err, shm.ErrCorrupt) {
			t.Errorf("a handle with a bad name: %v", err)
		}
	}
}

// looksOn opens a segment for reading.
var looksOn = proctest.NewRole("looks-on", func(ctx context.Context, c *proctest.Child, name string) error {
	seg, err := shm.OpenReadOnly(name)
	if err != nil {
		return err
	}
	names := ""
	for o := range seg.Objects() {
		names += o.Name
	}
	in := seg.Info()
	alive := 0
	for _, p := range seg.Participants() {
		if p.Alive {
			alive++
		}
	}
	if err := errors.Join(seg.Check(), seg.Close()); err != nil {
		return err
	}
	c.Say("%s %d %d %d %d", names, in.Living, alive, in.Dead, seg.Self())
	return nil
})

// Who looks takes no part and changes nothing, not even what he finds out.
func TestReadOnly(t *testing.T) {
	seg, name := named(t, 0)
	block(t, seg, "b", 64)
	gift, err := seg.Prepare()
	proctest.Must(t, err)
	shm.Unwatch(seg)
	gift.Sent() // dies, and nobody notices
	if line := looksOn.Start(t, name).Line(); line != "b 1 1 1 0" {
		t.Errorf("it sees %q", line)
	}
	word := slotWord(seg, gift.Owner%slotCount)
	ro, err := shm.OpenReadOnly(name)
	proctest.Must(t, err)
	if !ro.Dead(gift.Owner) || ro.Dead(seg.Self()) || ro.Self() != 0 || ro.Name() != name {
		t.Error("who lives, seen by one who only looks")
	}
	if slotWord(seg, gift.Owner%slotCount) != word || seg.KnownDead(gift.Owner) {
		t.Error("it wrote what it found")
	}
	for what, err := range map[string]error{
		"NewBlock": second(shm.NewBlock(ro, "x", 8)), "OpenBlock": second(shm.OpenBlock(ro, "b")), "Prepare": second(ro.Prepare()),
	} {
		if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "reading only") {
			t.Errorf("%s: %v", what, err)
		}
	}
	proctest.Must(t, ro.Check())
	proctest.Must(t, seg.Close())
	// A segment that nobody has can be looked at too.
	if n := ro.Info().Living; n != 0 {
		t.Errorf("%d living participants", n)
	}
	proctest.Must(t, ro.Close())
	if _, err := shm.NewBlock(ro, "x", 8); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// again starts the test named like t in another process, with attr, and reports true in that process. Its failure
// is that of the test.
func again(t *testing.T, attr *syscall.SysProcAttr, limits ...string) bool {
	t.Helper()
	const variable = "SHOAL_TEST_AGAIN"
	if os.Getenv(variable) == t.Name() {
		return true
	}
	shell := strings.Join(append(limits, `exec /proc/self/fd/3 "$@"`), "; ")
	cmd := exec.Command("/bin/sh", "-c", shell, "sh", "-test.run", "^"+t.Name()+"$", "-test.v", "-test.timeout", "60s")
	exe, err := os.Open("/proc/self/exe") // whose directory another user may not read
	proctest.Must(t, err)
	defer exe.Close()
	cmd.ExtraFiles = []*os.File{exe}
	cmd.Env = append(os.Environ(), variable+"="+t.Name())
	cmd.Dir = "/"
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	switch {
	case errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EACCES):
		t.Skipf("needs the privilege to start a process with %+v: %v", attr, err)
	case err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()):
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// mounts is a process in which file systems can be mounted that no other sees.
func mounts() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}},
		// Else the mapped user loses its capabilities with exec.
		AmbientCaps: []uintptr{21}, // CAP_SYS_ADMIN
	}
}

// mount puts a tmpfs over /dev/shm until the function that it returns is called.
func mount(t *testing.T, flags uintptr, data string) (unmount func()) {
	t.Helper()
	proctest.Must(t, syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	proctest.Must(t, syscall.Mount("tmpfs", "/dev/shm", "tmpfs", flags, data))
	return func() {
		runtime.GC()
		proctest.Must(t, syscall.Unmount("/dev/shm", syscall.MNT_DETACH))
	}
}

// A memory file system that is full is an error, not a fault, and leaves nothing.
func TestFull(t *testing.T) {
	if !again(t, mounts()) {
		return
	}
	defer mount(t, 0, "size=1m")()
	seg, err := shm.Create("a", 8<<20)
	proctest.Must(t, err)
	n := 0
	for ; err == nil && n < 1000; n++ {
		var b *shm.Block
		if b, err = shm.NewBlock(seg, "", 16<<10); err == nil {
			clear(b.Bytes())
		}
	}
	if !errors.Is(err, shm.ErrNoSpace) || !errors.Is(err, syscall.ENOSPC) ||
		!strings.Contains(err.Error(), " of /dev/shm: the file system is full") {
		t.Errorf("New in a full file system: %v", err)
	}
	proctest.Must(t, seg.Check())
	for _, way := range shm.Ways {
		if _, err := shm.CreateBy(way, "b", 8<<20); !errors.Is(err, shm.ErrNoSpace) || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("Create in a full file system: %v", err)
		}
	}
	if _, err := shm.Open("a", shm.Options{Populate: true}); !errors.Is(err, shm.ErrNoSpace) {
		t.Errorf("Populate in a full file system: %v", err)
	}
	if list, err := shm.List(); len(list) != 1 || err != nil {
		t.Errorf("%v, %v", list, err)
	}
	if left := leftovers(t); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	proctest.Must(t, seg.Close())
}

// No room for one more file.
func TestNoInodes(t *testing.T) {
	if !again(t, mounts()) {
		return
	}
	defer mount(t, 0, "nr_inodes=2")()
	seg, err := shm.Create("a", 1)
	proctest.Must(t, err)
	defer seg.Close()
	if _, err := shm.Create("b", 1); !errors.Is(err, shm.ErrNoSpace) || !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
}

func TestReadOnlyFileSystem(t *testing.T) {
	if !again(t, mounts()) {
		return
	}
	defer mount(t, 0, "")()
	seg, err := shm.Create("a", 1)
	proctest.Must(t, err)
	proctest.Must(t, seg.Close())
	for err = syscall.EBUSY; err == syscall.EBUSY; { // until its mapping is gone
		runtime.GC()
		err = syscall.Mount("", "/dev/shm", "", syscall.MS_REMOUNT|syscall.MS_RDONLY|syscall.MS_BIND, "")
	}
	proctest.Must(t, err)
	for what, err := range map[string]error{
		"Create": second(shm.Create("b", 1)), "Open": second(shm.Open("a")), "OpenOrCreate": second(shm.OpenOrCreate("b", 1)),
		"Remove": shm.Remove("a"),
	} {
		if !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), "mounted for reading only") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if list, err := shm.List(); len(list) != 1 || err != nil {
		t.Errorf("%v, %v", list, err)
	}
}

// No /dev/shm, or one that is no memory.
func TestNoMemoryDirectory(t *testing.T) {
	if !again(t, mounts()) {
		return
	}
	for what, mount := range map[string]func() error{
		"missing": func() error { return syscall.Mount("tmpfs", "/dev", "tmpfs", 0, "") },
		"other":   func() error { return syscall.Mount("/proc/self", "/dev/shm", "", syscall.MS_BIND, "") },
	} {
		proctest.Must(t, syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
		proctest.Must(t, mount())
		for f, err := range map[string]error{
			"Create": second(shm.Create("a", 1)), "Open": second(shm.Open("a")), "OpenOrCreate": second(shm.OpenOrCreate("a", 1)),
			"List": second(shm.List()), "Stat": second(shm.Stat("a")), "Remove": shm.Remove("a"),
		} {
			if !errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "tmpfs") {
				t.Errorf("%s: %s: %v", what, f, err)
			}
		}
		if what == "missing" {
			proctest.Must(t, syscall.Unmount("/dev", syscall.MNT_DETACH))
		} else {
			proctest.Must(t, syscall.Unmount("/dev/shm", syscall.MNT_DETACH))
		}
	}
}

// Segments can be made and opened without /proc.
func TestNamedWithoutProc(t *testing.T) {
	if !again(t, mounts()) {
		return
	}
	proctest.Must(t, syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	proctest.Must(t, syscall.Mount("tmpfs", "/proc", "tmpfs", 0, ""))
	defer func() { proctest.Must(t, syscall.Unmount("/proc", syscall.MNT_DETACH)) }()
	name := proctest.Name(t)
	seg, err := shm.Create(name, 1)
	proctest.Must(t, err)
	defer seg.Close()
	if left := leftovers(t); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	ro, err := shm.OpenReadOnly(name)
	proctest.Must(t, err)
	if ro.Info().Living != 1 {
		t.Errorf("%+v", ro.Info())
	}
	ro.Close()
	proctest.Must(t, seg.Close())
	seg, err = shm.Open(name)
	proctest.Must(t, err)
	block(t, seg, "", 64)
	seg.Close()
}

// A limit on the size of files (in blocks of 512 bytes, or 1,024 in some shells).
func TestNamedFileLimit(t *testing.T) {
	if !again(t, nil, "ulimit -f 2048") {
		return
	}
	name := proctest.Name(t)
	for _, way := range shm.Ways {
		if _, err := shm.CreateBy(way, name, 4<<20); !errors.Is(err, shm.ErrNoSpace) || !strings.Contains(err.Error(), "ulimit -f") {
			t.Errorf("Create beyond the limit: %v", err)
		}
	}
	seg, err := shm.Create(name, 1<<20)
	proctest.Must(t, err)
	seg.Close()
}

// Another user is refused, whichever of the two says that it is fine.
func TestForeign(t *testing.T) {
	pid := os.Getpid()
	if os.Getenv("SHOAL_TEST_AGAIN") != "" {
		pid = os.Getppid()
	}
	prefix := fmt.Sprint("test-foreign-", pid, "-")
	// listed is how many segments of this test the list has.
	listed := func() (n int) {
		list, err := shm.List()
		for _, in := range list {
			if strings.HasPrefix(in.Name, prefix) {
				n++
			}
		}
		if err != nil && strings.Contains(err.Error(), prefix) {
			t.Error(err)
		}
		return n
	}
	closed, read, open, theirs := prefix+"closed", prefix+"read", prefix+"open", prefix+"theirs"
	if os.Getenv("SHOAL_TEST_AGAIN") == "" {
		if os.Geteuid() != 0 {
			t.Skip("needs root, to be two users")
		}
		for _, c := range []struct {
			mode fs.FileMode
			name string
		}{{0o600, closed}, {0o644, read}, {0o666, open}} {
			seg, err := shm.Create(c.name, 1, shm.Options{Mode: c.mode})
			proctest.Must(t, err)
			defer shm.Remove(c.name)
			defer seg.Close()
		}
	}
	if !again(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}) {
		// And root is refused what is not root's.
		seg, err := shm.Create(theirs, 1)
		proctest.Must(t, err)
		block(t, seg, "", 8)
		proctest.Must(t, seg.Close())
		proctest.Must(t, os.Chown(fileOf(theirs), 65534, 65534))
		if _, err := shm.Open(theirs); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "Foreign") {
			t.Errorf("root opens another's segment: %v", err)
		}
		if _, err := shm.OpenOrCreate(theirs, 0, shm.Options{Fresh: true}); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("root replaces another's segment: %v", err)
		}
		ro, err := shm.OpenReadOnly(theirs)
		proctest.Must(t, err)
		if in := ro.Info(); in.Living != 0 || in.Objects != 1 {
			t.Errorf("%+v", in)
		}
		ro.Close()
		if n := listed(); n != 4 {
			t.Errorf("root sees %d of 4", n)
		}
		proctest.Must(t, shm.Remove(theirs))
		return
	}
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, name := range []string{closed, read, open} {
		refused("Open of "+name, second(shm.Open(name)))
		refused("Open of "+name+" with a mode", second(shm.Open(name, shm.Options{Mode: 0o666})))
		refused("Fresh of "+name, second(shm.OpenOrCreate(name, 0, shm.Options{Fresh: true})))
		if err := shm.Remove(name); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("Remove of %s: %v", name, err)
		}
	}
	refused("Foreign", second(shm.Open(closed, shm.Options{Foreign: true})))
	refused("reading", second(shm.OpenReadOnly(closed)))
	_, err := shm.Stat(read)
	proctest.Must(t, err)
	seg, err := shm.Open(open, shm.Options{Foreign: true})
	proctest.Must(t, err)
	block(t, seg, "", 8)
	if seg.Info().Living != 2 {
		t.Errorf("%+v", seg.Info())
	}
	seg.Close()
	if n := listed(); n != 0 {
		t.Errorf("%d of another's segments in the list", n)
	}
}

// holdsByte locks a byte of a file and keeps it.
var holdsByte = proctest.NewRole("holds-byte", func(ctx context.Context, c *proctest.Child, a heldByte) error {
	f, err := os.OpenFile(a.Path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	lock := sys.LockByte
	if a.Shared {
		lock = sys.LockByteShared
	}
	if ok, err := lock(f, a.At); !ok || err != nil {
		return fmt.Errorf("%v, %v", ok, err)
	}
	c.Say("held")
	c.Hear()
	return nil
})

type heldByte struct {
	Path   string
	At     int64
	Shared bool
}

// What a process that is stopped in the middle holds up, and that its death ends it.
func TestStoppedInTheMiddle(t *testing.T) {
	for _, c := range []struct {
		what                string
		at                  int64
		shared              bool
		open, remove, fresh bool // what goes on
	}{
		{"opener", shm.AttachByte, true, true, true, true},
		{"remover", shm.RemoveByte, false, true, false, false},
		{"decider", shm.AttachByte, false, false, true, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			seg, name := named(t, 1)
			proctest.Must(t, seg.Close())
			p := holdsByte.Start(t, heldByte{fileOf(name), c.at, c.shared})
			p.WaitLine("held")
			p.Stop()
			result := func(what string, goesOn bool, err error) {
				t.Helper()
				if goesOn != (err == nil) || !goesOn && !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s: %v, want it to go on: %v", what, err, goesOn)
				}
			}
			s, err := shm.OpenOrCreate(name, 0)
			result("OpenOrCreate", c.open, err)
			if err == nil {
				s.Close()
			}
			s, err = shm.OpenOrCreate(name, 0, shm.Options{Fresh: true})
			result("Fresh", c.fresh, err)
			if err == nil {
				if c.what == "opener" && shm.UUID(s) != shm.UUID(seg) {
					t.Error("a segment was replaced that somebody opens")
				}
				s.Close()
			}
			_, err = shm.Stat(name)
			result("Stat", true, err)
			p.Kill()
			p.Wait()
			s, err = shm.OpenOrCreate(name, 0, shm.Options{Fresh: true})
			proctest.Must(t, err)
			if shm.UUID(s) == shm.UUID(seg) {
				t.Error("a segment that nobody has was not replaced")
			}
			s.Close()
			p = holdsByte.Start(t, heldByte{fileOf(name), c.at, c.shared})
			p.WaitLine("held")
			result("Remove", c.remove, shm.Remove(name))
		})
	}
}

// Fresh replaces what nobody has, and nothing else.
func TestFresh(t *testing.T) {
	name := proctest.Name(t)
	fresh := shm.Options{Fresh: true}
	seg, err := shm.OpenOrCreate(name, 1, fresh)
	proctest.Must(t, err)
	block(t, seg, "b", 64)
	again, err := shm.OpenOrCreate(name, 1, fresh)
	proctest.Must(t, err)
	if shm.UUID(again) != shm.UUID(seg) {
		t.Error("this process's own segment was replaced")
	}
	again.Close()
	p, _ := startOpener(t, name)
	proctest.Must(t, seg.Close())
	p.Stop()
	again, err = shm.OpenOrCreate(name, 1, fresh)
	proctest.Must(t, err)
	if shm.UUID(again) != shm.UUID(seg) {
		t.Error("the segment of a stopped process was replaced")
	}
	again.Close()
	p.Kill()
	p.Wait()
	again, err = shm.OpenOrCreate(name, 1, fresh)
	proctest.Must(t, err)
	defer again.Close()
	if shm.UUID(again) == shm.UUID(seg) || again.Info().Objects != 0 {
		t.Error("the segment of dead processes was not replaced")
	}
}

// Who is slow to open a segment does not end up in one whose name was removed, and used again, meanwhile.
func TestMovedWhileOpening(t *testing.T) {
	seg, name := named(t, 1)
	f, err := os.OpenFile(fileOf(name), os.O_RDWR, 0)
	proctest.Must(t, err)
	defer f.Close()
	if ok, err := sys.LockByte(f, shm.AttachByte); !ok || err != nil {
		t.Fatal(ok, err)
	}
	has := func() (n int) {
		links, err := filepath.Glob("/proc/self/fd/*")
		proctest.Must(t, err)
		for _, l := range links {
			if target, _ := os.Readlink(l); target == fileOf(name) {
				n++
			}
		}
		return n
	}
	before := has()
	opened := make(chan *shm.Segment)
	go func() {
		s, err := shm.Open(name)
		if err != nil {
			t.Error(err)
		}
		opened <- s
	}()
	for has() == before { // until it has the file open, and waits for the byte
		runtime.Gosched()
	}
	proctest.Must(t, shm.Remove(name))
	other, err := shm.Create(name, 1)
	proctest.Must(t, err)
	defer other.Close()
	proctest.Must(t, f.Close())
	if s := <-opened; s != nil {
		if shm.UUID(s) == shm.UUID(seg) {
			t.Error("it is in the segment that was removed")
		}
		s.Close()
	}
}

type limited struct {
	Group string // the directory of a control group
	B     *shm.Block
}

// exceeds moves to a control group, and asks for more memory than that may have.
var exceeds = proctest.NewRole("exceeds", func(ctx context.Context, c *proctest.Child, a limited) error {
	if err := os.WriteFile(a.Group+"/cgroup.procs", fmt.Append(nil, os.Getpid()), 0); err != nil {
		return err
	}
	_, err := shm.NewBlock(a.B.Segment(), "large", 400<<20)
	c.Say("%t %t %v", errors.Is(err, shm.ErrNoSpace), errors.Is(err, syscall.ENOSPC), err)
	_, err = shm.Anonymous(400<<20, shm.Options{Populate: true})
	c.Say("%t %t %v", errors.Is(err, shm.ErrNoSpace), errors.Is(err, syscall.ENOSPC), err)
	_, err = shm.NewBlock(a.B.Segment(), "small", 1<<20)
	c.Say("%v", err)
	c.Hear()
	return nil
})

// More memory than the control group may have is an error, not a kill.
func TestMemoryLimit(t *testing.T) {
	group, limit := "", ""
	for _, g := range [][2]string{{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}, {"/sys/fs/cgroup", "memory.max"}} {
		dir := fmt.Sprintf("%s/shoal-test-%d", g[0], os.Getpid())
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		defer os.Remove(dir)
		if os.WriteFile(dir+"/"+g[1], []byte("268435456"), 0) == nil {
			group, limit = dir, g[1]
			break
		}
	}
	if group == "" {
		t.Skip("needs the privilege to make a memory control group")
	}
	info, err := os.ReadFile("/proc/meminfo")
	proctest.Must(t, err)
	if !strings.Contains(strings.Join(strings.Fields(string(info)), " "), "SwapFree: 0 kB") {
		t.Skip("needs a system without swap, which would take what is too much")
	}
	a := limited{group, block(t, proctest.Segment(t, 512<<20), "", 8)}
	p := exceeds.Start(t, a)
	for range 2 {
		if line := p.Line(); !strings.HasPrefix(line, "true true") || !strings.Contains(line, "control group") {
			t.Errorf("with %s: %s", limit, line)
		}
	}
	if line := p.Line(); line != "<nil>" {
		t.Error(line)
	}
	p.Tell("end")
	proctest.Must(t, p.Wait())
}

// Where the address space is limited, the mappings of segments that were closed make room for the next.
func TestNamedAddressSpace(t *testing.T) {
	if !again(t, nil) {
		return
	}
	seg, name := named(t, 256<<20)
	proctest.Must(t, seg.Close())
	var used int // pages
	text, err := os.ReadFile("/proc/self/statm")
	proctest.Must(t, err)
	_, err = fmt.Sscan(string(text), &used)
	proctest.Must(t, err)
	var limit syscall.Rlimit
	proctest.Must(t, syscall.Getrlimit(syscall.RLIMIT_AS, &limit))
	limit.Cur = uint64(used*os.Getpagesize()) + 600<<20 // room for two
	proctest.Must(t, syscall.Setrlimit(syscall.RLIMIT_AS, &limit))
	for range 8 {
		seg, err := shm.Open(name)
		proctest.Must(t, err)
		proctest.Must(t, seg.Close())
	}
}
