package shm_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/shm"
)

func fileOf(name string) string { return "/dev/shm/shoal." + name }

// named makes a segment for the length of the test.
func named(t testing.TB, size int, opts ...shm.Options) (*shm.Segment, string) {
	t.Helper()
	name := proctest.Name(t)
	seg, err := shm.Create(name, size, opts...)
	proctest.Must(t, err)
	t.Cleanup(func() { seg.Close() })
	return seg, name
}

// leftovers are the files of segments that were not finished, but for those that are expected. Other programs'
// are there for a moment only.
func leftovers(t testing.TB, expected ...string) (left []string) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		files, err := filepath.Glob("/dev/shm/" + shm.TempPrefix + "*")
		proctest.Must(t, err)
		left = slices.DeleteFunc(files, func(f string) bool { return slices.Contains(expected, f) })
		if len(left) == 0 || time.Now().After(end) {
			return left
		}
	}
}

func TestNamed(t *testing.T) {
	seg, name := named(t, 1<<20)
	if seg.Name() != name {
		t.Errorf("name %q", seg.Name())
	}
	block(t, seg, "b", 64).Uint32(0).Store(7)
	if _, err := shm.Create(name, 0); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create of a name that is taken: %v", err)
	}
	again, err := shm.Open(name)
	proctest.Must(t, err)
	b, err := shm.OpenBlock(again, "b")
	proctest.Must(t, err)
	if b.Uint32(0).Load() != 7 || again.Self() != seg.Self() {
		t.Error("another segment, or another participant of this process")
	}
	in, err := shm.Stat(name)
	proctest.Must(t, err)
	own := seg.Info()
	if in.Name != name || in.Mode != 0o600 || in.Size != 1<<20 || in.Objects != 1 || in.Living != 1 || in.Dead != 0 ||
		in.Creator.Pid != os.Getpid() || !in.Creator.Alive || in != own {
		t.Errorf("Stat: %+v\nInfo: %+v", in, own)
	}
	proctest.Must(t, seg.Check())
	for range 2 {
		proctest.Must(t, seg.Close())
	}
	// The other Segment goes on.
	if b.Closed() || again.Dead(again.Self()) {
		t.Error("Close of one Segment closed the other")
	}
	block(t, again, "c", 64)
	proctest.Must(t, again.Close())
	if in, err := shm.Stat(name); err != nil || in.Living != 0 {
		t.Errorf("after the last Close: %+v, %v", in, err)
	}
	if _, err := shm.OpenBlock(again, "b"); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Open of an object after Close: %v", err)
	}

	third, err := shm.Open(name)
	proctest.Must(t, err)
	defer third.Close()
	if b, err := shm.OpenBlock(third, "b"); err != nil || b.Uint32(0).Load() != 7 {
		t.Errorf("memory is lost with the last user: %v", err)
	}
	proctest.Must(t, shm.Remove(name))
	for what, err := range map[string]error{
		"Remove": shm.Remove(name), "Open": second(shm.Open(name)), "Stat": second(shm.Stat(name)), "OpenReadOnly": second(shm.OpenReadOnly(name)),
	} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s after Remove: %v", what, err)
		}
	}
	block(t, third, "still there", 64)
	fourth, err := shm.OpenOrCreate(name, 0)
	proctest.Must(t, err)
	defer fourth.Close()
	if shm.UUID(fourth) == shm.UUID(third) || fourth.Info().Objects != 0 {
		t.Error("the name was used again, and leads to the removed segment")
	}
}

func second[T any](_ T, err error) error { return err }

// Segments that nobody closes go when they are unreachable, each on its own.
func TestNamedForgotten(t *testing.T) {
	_, name := named(t, 1)
	for range 100 {
		seg, err := shm.Open(name)
		proctest.Must(t, err)
		if seg.Info().Living != 1 {
			t.Fatalf("%+v", seg.Info())
		}
	}
	for range 3 {
		runtime.GC()
	}
	seg, err := shm.Open(name)
	proctest.Must(t, err)
	if seg.Info().Living != 1 {
		t.Errorf("%+v", seg.Info())
	}
	proctest.Must(t, seg.Close())
}

// Goroutines that open one name at once make one participant.
func TestNamedGoroutines(t *testing.T) {
	name := proctest.Name(t)
	for range 20 {
		var mu sync.Mutex
		var segs []*shm.Segment
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				seg, err := shm.OpenOrCreate(name, 1)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				segs = append(segs, seg)
			})
		}
		wg.Wait()
		for _, s := range segs {
			if s.Self() != segs[0].Self() || shm.UUID(s) != shm.UUID(segs[0]) {
				t.Errorf("participants %#x and %#x", s.Self(), segs[0].Self())
			}
		}
		for _, s := range segs {
			s.Close()
		}
		if in, err := shm.Stat(name); err != nil || in.Living != 0 {
			t.Errorf("%+v, %v", in, err)
		}
		proctest.Must(t, shm.Remove(name))
	}
}

// Each way to give a complete file its name gives it once, and leaves nothing else behind.
func TestNamedWays(t *testing.T) {
	for _, way := range shm.Ways {
		t.Run(fmt.Sprint(way), func(t *testing.T) {
			name := proctest.Name(t)
			for range 2 {
				seg, err := shm.CreateBy(way, name, 1)
				if errors.Is(err, fs.ErrNotExist) && way == shm.Ways[0] {
					t.Skip("linkat with AT_EMPTY_PATH needs Linux 6.10 or CAP_DAC_READ_SEARCH")
				}
				proctest.Must(t, err)
				other, err := shm.Open(name)
				proctest.Must(t, err)
				block(t, other, "", 64)
				for _, way := range shm.Ways {
					if _, err := shm.CreateBy(way, name, 1); !errors.Is(err, fs.ErrExist) {
						t.Errorf("a second time, way %d: %v", way, err)
					}
				}
				// Also for who comes so late that only the last system call tells.
				if ok, err := sys.BytesLocked(shm.File(seg), shm.MakeByte, 3); ok || err != nil {
					t.Errorf("bytes are locked: %v, %v", ok, err)
				}
				vandal, err := os.OpenFile(fileOf(name), os.O_RDWR, 0)
				proctest.Must(t, err)
				for _, at := range []int64{shm.AttachByte, shm.MakeByte} {
					if ok, err := sys.LockByte(vandal, at); !ok || err != nil {
						t.Errorf("its maker still has byte %d: %v, %v", at, ok, err)
					}
				}
				vandal.Close()
				proctest.Must(t, other.Close())
				proctest.Must(t, seg.Close())
				proctest.Must(t, shm.Remove(name))
			}
			if left := leftovers(t); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// Of many that create at once, in all ways, one succeeds.
func TestNamedCreateRace(t *testing.T) {
	for range 30 {
		name := proctest.Name(t)
		var wg sync.WaitGroup
		var mu sync.Mutex
		made := 0
		for i := range 9 {
			wg.Go(func() {
				seg, err := shm.CreateBy(shm.Ways[1+i%2], name, 1)
				if err == nil {
					defer seg.Close()
					mu.Lock()
					made++
					mu.Unlock()
				} else if !errors.Is(err, fs.ErrExist) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if made != 1 {
			t.Fatalf("%d made it", made)
		}
	}
	if left := leftovers(t); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A file that a killed creator left is removed by the next one and by List, one that is in use is not.
func TestLeftovers(t *testing.T) {
	use := func(name string) *os.File {
		t.Helper()
		f, err := os.OpenFile("/dev/shm/"+shm.TempPrefix+name, os.O_CREATE|os.O_RDWR|os.O_EXCL, 0o600)
		proctest.Must(t, err)
		t.Cleanup(func() { f.Close(); os.Remove(f.Name()) })
		if ok, err := sys.LockByteShared(f, shm.MakeByte); !ok || err != nil {
			t.Fatal(ok, err)
		}
		return f
	}
	used, dead := use(fmt.Sprint("used-", os.Getpid())), use(fmt.Sprint("dead-", os.Getpid()))
	dead.Close()
	shm.List() // what it says of the files of other tests is for them
	there := func() bool { _, err := os.Stat(used.Name()); return err == nil }
	if left := leftovers(t, used.Name()); len(left) != 0 || !there() {
		t.Errorf("List leaves %v, and what is used: %v", left, there())
	}
	use(fmt.Sprint("dead-", os.Getpid())).Close()
	named(t, 1)
	if left := leftovers(t, used.Name()); len(left) != 0 || !there() {
		t.Errorf("Create leaves %v, and what is used: %v", left, there())
	}
}

func TestNamedSizes(t *testing.T) {
	seg, name := named(t, 4<<20)
	for _, c := range []struct {
		size int
		err  error
	}{
		{0, nil}, {1, nil}, {4 << 20, nil}, {4<<20 + 1, shm.ErrSize}, {-1, fs.ErrInvalid}, {math.MaxInt, fs.ErrInvalid},
	} {
		s, err := shm.OpenOrCreate(name, c.size)
		if !errors.Is(err, c.err) {
			t.Errorf("OpenOrCreate of %d bytes: %v, want %v", c.size, err, c.err)
		}
		if err == nil {
			if s.Info().Size != 4<<20 {
				t.Errorf("size %d", s.Info().Size)
			}
			s.Close()
		}
	}
	for _, size := range []int{-1, math.MaxInt} {
		if _, err := shm.Create(proctest.Name(t), size); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("Create of %d bytes: %v", size, err)
		}
	}
	runtime.KeepAlive(seg)
}

func TestSegmentNames(t *testing.T) {
	long := strings.Repeat("x", 200)
	for _, name := range []string{"", ".", "..", ".x", "a/b", "/", "../x", "a\x00b", "a b", "a:b", "a\nb", "ä", long + "x", "a\xff"} {
		for what, err := range map[string]error{
			"Create": second(shm.Create(name, 0)), "Open": second(shm.Open(name)), "OpenOrCreate": second(shm.OpenOrCreate(name, 0)),
			"OpenReadOnly": second(shm.OpenReadOnly(name)), "Remove": shm.Remove(name), "Stat": second(shm.Stat(name)),
		} {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%s(%q): %v", what, name, err)
			}
		}
	}
	for _, name := range []string{long, "-", "_", "A.z-0_", "a.", "a.."} {
		seg, err := shm.Create(name, 0)
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if seg.Name() != name {
			t.Errorf("%q is %q", name, seg.Name())
		}
		seg.Close()
		proctest.Must(t, shm.Remove(name))
	}
}

func TestTwoOptions(t *testing.T) {
	for what, f := range map[string]func(o ...shm.Options){
		"Anonymous":    func(o ...shm.Options) { shm.Anonymous(0, o...) },
		"Create":       func(o ...shm.Options) { shm.Create("x", 0, o...) },
		"Open":         func(o ...shm.Options) { shm.Open("x", o...) },
		"OpenOrCreate": func(o ...shm.Options) { shm.OpenOrCreate("x", 0, o...) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s takes two Options", what)
				}
			}()
			f(shm.Options{}, shm.Options{})
		}()
	}
}

// Memory that is asked for now is there: as much of the file as it has bytes.
func TestPopulate(t *testing.T) {
	const size = 8 << 20
	for _, o := range []shm.Options{{Populate: true}, {Populate: true, HugePages: true}, {Populate: true, Pin: true}, {HugePages: true, Pin: true}} {
		seg, err := shm.Anonymous(size, o)
		if errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.EPERM) {
			continue // the limit of pinned memory
		}
		proctest.Must(t, err)
		blocks := func(f *os.File) int64 {
			info, err := f.Stat()
			proctest.Must(t, err)
			return info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		if n := blocks(shm.File(seg)); o.Populate != (n >= size) {
			t.Errorf("%+v: %d bytes of %d are there", o, n, size)
		}
		block(t, seg, "", 1<<20)
		proctest.Must(t, seg.Check())
		seg.Close()

		_, name := named(t, size)
		seg, err = shm.Open(name, o)
		proctest.Must(t, err)
		if n := blocks(shm.File(seg)); o.Populate != (n >= size) {
			t.Errorf("Open with %+v: %d bytes of %d are there", o, n, size)
		}
		proctest.Must(t, seg.Check())
		seg.Close()
	}
}

// An umask has no part in a mode, and who opens says how wide a mode is accepted.
func TestModes(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o777))
	for _, mode := range []fs.FileMode{0, 0o600, 0o640, 0o660, 0o666} {
		seg, name := named(t, 1, shm.Options{Mode: mode})
		want := mode
		if mode == 0 {
			want = 0o600
		}
		if got := seg.Info().Mode; got != want {
			t.Errorf("mode %#o, want %#o", got, want)
		}
		for _, asked := range []fs.FileMode{0, 0o640, 0o660, 0o666} {
			s, err := shm.Open(name, shm.Options{Mode: asked})
			wide := want&^asked&^0o600 != 0
			if wide != errors.Is(err, fs.ErrPermission) || !wide && err != nil {
				t.Errorf("mode %#o opened with %#o: %v", want, asked, err)
			}
			if err == nil {
				s.Close()
			}
		}
		s, err := shm.Open(name, shm.Options{Foreign: true})
		proctest.Must(t, err)
		s.Close()
	}
	for _, mode := range []fs.FileMode{0o400, 0o060, 0o700, 0o1600, fs.ModeDir | 0o600} {
		if _, err := shm.Create(proctest.Name(t), 1, shm.Options{Mode: mode}); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("mode %v: %v", mode, err)
		}
	}
}

// What is no segment of this user is refused, whatever the way to come to it, and is not changed.
func TestNotASegment(t *testing.T) {
	target, _ := named(t, 1)
	for what, put := range map[string]func(path string) error{
		"link":         func(path string) error { return os.Symlink(fileOf(target.Name()), path) },
		"loose link":   func(path string) error { return os.Symlink("/dev/shm/nowhere", path) },
		"directory":    func(path string) error { return os.Mkdir(path, 0o700) },
		"pipe":         func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"empty file":   func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"text":         func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("text "), 1<<18), 0o600) },
		"wrong length": func(path string) error { return os.WriteFile(path, []byte("SHOAL\xff\r\n"), 0o600) },
		"copy": func(path string) error {
			data, err := os.ReadFile(fileOf(target.Name()))
			proctest.Must(t, err)
			return os.WriteFile(path, data, 0o600)
		},
	} {
		t.Run(what, func(t *testing.T) {
			name := fmt.Sprint("odd-", os.Getpid())
			proctest.Must(t, put(fileOf(name)))
			defer os.Remove(fileOf(name))
			before, err := os.Lstat(fileOf(name))
			proctest.Must(t, err)
			want := shm.ErrCorrupt
			_, err = shm.Create(name, 0)
			if !errors.Is(err, fs.ErrExist) {
				t.Errorf("Create: %v", err)
			}
			for f, err := range map[string]error{
				"Open": second(shm.Open(name)), "OpenOrCreate": second(shm.OpenOrCreate(name, 0)),
				"Foreign": second(shm.Open(name, shm.Options{Foreign: true})),
			} {
				if !errors.Is(err, want) {
					t.Errorf("%s: %v, want %v", f, err, want)
				}
			}
			if what != "copy" { // which looks like a segment
				if _, err := shm.OpenReadOnly(name); !errors.Is(err, want) {
					t.Errorf("OpenReadOnly: %v, want %v", err, want)
				}
				list, err := shm.List()
				if !errors.Is(err, want) || !strings.Contains(err.Error(), name) {
					t.Errorf("List: %v", err)
				}
				if len(list) == 0 {
					t.Error("List has not even those that are right")
				}
			}
			after, err := os.Lstat(fileOf(name))
			proctest.Must(t, err)
			if !os.SameFile(before, after) || before.Size() != after.Size() || before.ModTime() != after.ModTime() {
				t.Error("it was changed")
			}
		})
	}
	proctest.Must(t, target.Check())
}

// Every field of the header is looked at before anything is mapped, and each cause has its error. Nothing is left
// of a segment that could not be opened: TestMain looks for mappings and descriptors.
func TestHostileHeader(t *testing.T) {
	seg, name := named(t, 1<<20)
	proctest.Must(t, seg.Close())
	f, err := os.OpenFile(fileOf(name), os.O_RDWR, 0)
	proctest.Must(t, err)
	defer f.Close()
	for _, c := range []struct {
		what string
		at   int64
		word uint64
		size int
		want error
	}{
		{"magic", 0, 'X', 1, shm.ErrCorrupt},
		{"version", 8, 2, 4, shm.ErrVersion},
		{"flags", 12, 3, 4, shm.ErrCorrupt},
		{"no name", 12, 0, 4, shm.ErrCorrupt},
		{"larger", 16, 1<<20 + 4096, 8, shm.ErrCorrupt},
		{"smaller", 16, 1<<20 - 4096, 8, shm.ErrCorrupt},
		{"huge", 16, math.MaxUint64, 8, shm.ErrCorrupt},
		{"heap", 56, 4096, 8, shm.ErrCorrupt},
		{"no slots", 128, 0, 4, shm.ErrCorrupt},
		{"too many slots", 128, 4097, 4, shm.ErrCorrupt},
		{"top below the heap", 384, 4096, 8, shm.ErrCorrupt},
		{"top behind the end", 384, 1<<20 + 128, 8, shm.ErrCorrupt},
		{"top between units", 384, shm.HeapAt + 1, 8, shm.ErrCorrupt},
		{"committed below the top", 512, 4096, 8, shm.ErrCorrupt},
		{"committed behind the end", 512, 1<<20 + 1, 8, shm.ErrCorrupt},
		{"name", 3840, '/', 1, shm.ErrCorrupt},
	} {
		old := make([]byte, c.size)
		_, err := f.ReadAt(old, c.at)
		proctest.Must(t, err)
		_, err = f.WriteAt(binary.LittleEndian.AppendUint64(nil, c.word)[:c.size], c.at)
		proctest.Must(t, err)
		for what, err := range map[string]error{"Open": second(shm.Open(name)), "OpenReadOnly": second(shm.OpenReadOnly(name)), "Stat": second(shm.Stat(name))} {
			if !errors.Is(err, c.want) {
				t.Errorf("%s: %s: %v, want %v", c.what, what, err, c.want)
			}
		}
		_, err = f.WriteAt(old, c.at)
		proctest.Must(t, err)
	}
	uuid := make([]byte, 16)
	_, err = f.WriteAt(uuid, 24)
	proctest.Must(t, err)
	if _, err := shm.Open(name); !errors.Is(err, shm.ErrCorrupt) {
		t.Errorf("no UUID: %v", err)
	}
	proctest.Must(t, f.Truncate(1<<19))
	if _, err := shm.Open(name); !errors.Is(err, shm.ErrCorrupt) {
		t.Errorf("cut off: %v", err)
	}
	// What is wrong can be replaced by who says so.
	seg, err = shm.OpenOrCreate(name, 0, shm.Options{Fresh: true})
	proctest.Must(t, err)
	seg.Close()
}

// Random bytes in the file of a segment that nobody has.
func TestHostileFile(t *testing.T) {
	r := proctest.Rand(t)
	seg, name := named(t, 1<<20)
	block(t, seg, "a", 100)
	whole, err := os.ReadFile(fileOf(name))
	proctest.Must(t, err)
	seg.Close()
	for range 200 {
		data := bytes.Clone(whole)
		for range 1 + r.IntN(20) {
			at := r.IntN(len(data) - 8)
			if r.IntN(2) == 0 {
				at = r.IntN(4096)
			}
			binary.LittleEndian.PutUint64(data[at:], r.Uint64()>>r.IntN(64))
		}
		if r.IntN(4) == 0 {
			data = data[:r.IntN(len(data))]
		}
		f, err := os.OpenFile(fileOf(name), os.O_RDWR|os.O_TRUNC, 0)
		proctest.Must(t, err)
		_, err = f.Write(data)
		proctest.Must(t, err)
		f.Close()
		shm.Stat(name)
		shm.List()
		if seg, err := shm.OpenReadOnly(name); err == nil {
			seg.Check()
			seg.Info()
			for range seg.Objects() {
			}
			seg.Close()
		}
		if seg, err := shm.Open(name); err == nil {
			if b, err := shm.NewBlock(seg, "mine", 10); err == nil {
				everything(seg, b)
			}
			seg.Close()
		}
	}
}

// A file that is cut off while Stat looks at it is an error, not the end of the program.
func TestStatCutOff(t *testing.T) {
	seg, name := named(t, 1<<20)
	proctest.Must(t, seg.Close())
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				if err := errors.Join(os.Truncate(fileOf(name), 8192), os.Truncate(fileOf(name), 1<<20)); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	faults := 0
	for end := time.Now().Add(3 * time.Second); faults < 3 && time.Now().Before(end); {
		_, err := shm.Stat(name)
		if err != nil && !errors.Is(err, shm.ErrCorrupt) {
			t.Error(err)
			break
		}
		if err != nil && strings.Contains(err.Error(), "memory that was cut off") {
			faults++
		}
	}
	close(stop)
	<-stopped
	t.Logf("%d faults", faults)
}
