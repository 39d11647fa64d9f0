package process_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
)

// Guarded are the handles of a lock and of a block that it guards, as bytes: nobody hands their segment over.
type Guarded struct {
	Lock, Block []byte
	N           int
}

// newGuarded makes a segment with a lock and a block.
func newGuarded() (seg *shm.Segment, g Guarded, err error) {
	if seg, err = shm.Anonymous(1); err != nil {
		return nil, g, err
	}
	l, err := locks.NewLock(seg, "")
	if err != nil {
		return nil, g, err
	}
	b, err := shm.NewBlock(seg, "", 64)
	if err != nil {
		return nil, g, err
	}
	g.Lock, err = l.MarshalBinary()
	if err == nil {
		g.Block, err = b.MarshalBinary()
	}
	return seg, g, err
}

// use adds N to the block, in a way that needs the lock, and returns the sum.
func (g Guarded) use(ctx context.Context) (sum uint32, err error) {
	var l locks.Lock
	var b shm.Block
	if err := l.UnmarshalBinary(g.Lock); err != nil {
		return 0, err
	}
	if err := b.UnmarshalBinary(g.Block); err != nil {
		return 0, err
	}
	for range g.N {
		err := locks.With(ctx, &l, func() error {
			sum = b.Uint32(0).Load()
			if sum%16 == 0 {
				runtime.Gosched()
			}
			sum++
			b.Uint32(0).Store(sum)
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	runtime.KeepAlive(&b)
	return sum, nil
}

func (g Guarded) String() string {
	return fmt.Sprintf("%x %x", g.Lock, g.Block)
}

// guarded is the way back from String.
func guarded(text string, n int) (g Guarded, err error) {
	l, b, _ := strings.Cut(text, " ")
	g.N = n
	if g.Lock, err = hex.DecodeString(l); err == nil {
		g.Block, err = hex.DecodeString(b)
	}
	return g, err
}

var usesGuarded = process.Register("uses-guarded", func(ctx context.Context, g Guarded) error {
	_, err := g.use(ctx)
	return err
})

// relative does as it hears: "new" makes a segment and says its handles, "use" uses handles itself, "pass" lets a
// child of its own do so, "collect" collects garbage.
var relative = proctest.NewRole("relative", func(ctx context.Context, c *proctest.Child, n int) error {
	var segments []*shm.Segment
	for {
		what, rest, _ := strings.Cut(c.Hear(), " ")
		if what == "end" {
			runtime.KeepAlive(segments)
			return nil
		}
		if what == "new" {
			seg, g, err := newGuarded()
			if err != nil {
				return err
			}
			segments = append(segments, seg)
			c.Say("%v", g)
			continue
		}
		g, err := guarded(rest, n)
		switch {
		case err != nil:
		case what == "use":
			_, err = g.use(ctx)
		case what == "collect":
			runtime.GC()
		case what == "pass":
			err = process.Run(ctx, usesGuarded, g)
		}
		c.Say("%v", err)
	}
})

func mustGuarded(t *testing.T) (*shm.Segment, Guarded) {
	t.Helper()
	seg, g, err := newGuarded()
	proctest.Must(t, err)
	t.Cleanup(func() { seg.Close() })
	return seg, g
}

// succeeded waits for p's answer, which must be that all went well.
func succeeded(t *testing.T, p *proctest.Proc) {
	t.Helper()
	if line := p.Line(); line != "<nil>" {
		t.Fatal(line)
	}
}

// total is what was added to the block of g.
func total(t *testing.T, g Guarded) uint32 {
	t.Helper()
	g.N = 1
	sum, err := g.use(t.Context())
	proctest.Must(t, err)
	return sum - 1
}

// living waits until seg has n living participants: what was on its way to a process that was killed goes with the
// socket, a little after the process.
func living(t testing.TB, seg *shm.Segment, n int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); seg.Info().Living != n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d living participants, want %d: %+v", seg.Info().Living, n, seg.Participants())
		}
	}
}

// unwatched are the open descriptors but those by which this process watches others, which come and go in the background.
func unwatched() []int {
	return slices.DeleteFunc(openFiles(), func(fd int) bool {
		link, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		return strings.Contains(link, "pidfd")
	})
}

// A handle of a segment that did not exist when a process was started works there: the process asks its relatives.
// It is asked for once, and the lock in it excludes.
func TestHandleFromParent(t *testing.T) {
	const n = 3000
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // which would close what is forgotten
	a, b := relative.Start(t, n), relative.Start(t, n)
	seg, g := mustGuarded(t)
	g.N = n
	for _, p := range []*proctest.Proc{a, b} {
		p.Tell("use " + g.String())
	}
	if _, err := g.use(t.Context()); err != nil {
		t.Error(err)
	}
	succeeded(t, a)
	succeeded(t, b)
	living(t, seg, 3)
	before := unwatched()
	a.Tell("pass " + g.String()) // to a grandchild, who asks twice as far
	succeeded(t, a)
	for deadline := time.Now().Add(10 * time.Second); len(unwatched()) > len(before); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("descriptors %v, before %v", unwatched(), before)
		}
	}
	if got := total(t, g); got != 4*n {
		t.Errorf("%d added, want %d", got, 4*n)
	}
	a.Tell("end")
	proctest.Must(t, a.Wait())
	b.Kill()
	b.Wait()
	living(t, seg, 1)
}

// What a child made reaches its parent, its siblings, and the child of a sibling, but when nobody has it any more.
func TestHandleFromChild(t *testing.T) {
	maker, sibling := relative.Start(t, 10), relative.Start(t, 10)
	maker.Tell("new")
	text := maker.Line()
	sibling.Tell("pass " + text)
	succeeded(t, sibling)
	sibling.Tell("use " + text)
	succeeded(t, sibling)
	g, err := guarded(text, 10)
	proctest.Must(t, err)
	if got := total(t, g); got != 20 {
		t.Errorf("%d added, want 20", got)
	}
	maker.Kill()
	maker.Wait()
	sibling.Tell("use " + text)
	succeeded(t, sibling)
	sibling.Kill()
	sibling.Wait()
	relative.Start(t, 1) // somebody to ask
	// This process is the last that has it.
	var b shm.Block
	proctest.Must(t, b.UnmarshalBinary(g.Block))
	proctest.Must(t, b.Segment().Close())
	err = new(shm.Block).UnmarshalBinary(g.Block)
	id, why := hex.EncodeToString(g.Block[1:17]), "no process of this tree has it"
	if !errors.Is(err, shm.ErrUnreachable) || !strings.Contains(err.Error(), id) || !strings.HasSuffix(err.Error(), why) {
		t.Errorf("%v, want ErrUnreachable with %q and %q", err, id, why)
	}
}

// A segment that was got by asking goes when nobody uses it, and can be got again.
func TestHandleForgotten(t *testing.T) {
	p := relative.Start(t, 1)
	seg, g := mustGuarded(t)
	for range 2 {
		p.Tell("use " + g.String())
		succeeded(t, p)
		for seg.Info().Living != 1 {
			p.Tell("collect")
			succeeded(t, p)
		}
	}
}

// Who asks a process that is stopped gives up, says who it was, and does not take it for dead; others are asked
// nevertheless. When it goes on it answers the next question, and what it had answered too late is nobody's.
func TestHandleFromStopped(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // which would close what is forgotten
	maker, sibling, other := relative.Start(t, 1), relative.Start(t, 1), relative.Start(t, 1)
	maker.Tell("new")
	text := maker.Line()
	other.Tell("new")
	reachable := other.Line()
	maker.Stop()
	sibling.Tell("use " + text)
	sibling.Tell("use " + reachable)
	line := sibling.Line()
	who := fmt.Sprintf("(pid %d) did not answer in time", maker.Pid())
	if !strings.Contains(line, who) || !strings.Contains(line, shm.ErrUnreachable.Error()) {
		t.Errorf("%s: want ErrUnreachable with %q", line, who)
	}
	succeeded(t, sibling) // past the stopped one
	maker.Continue()
	g, err := guarded(text, 1)
	proctest.Must(t, err)
	if got := total(t, g); got != 0 {
		t.Errorf("%d added", got)
	}
	var b shm.Block
	proctest.Must(t, b.UnmarshalBinary(g.Block))
	living(t, b.Segment(), 2)
	runtime.KeepAlive(&b)
}

// A relative that is killed while it is asked is no reason to wait.
func TestHandleFromKilled(t *testing.T) {
	maker := relative.Start(t, 1)
	maker.Tell("new")
	g, err := guarded(maker.Line(), 1)
	proctest.Must(t, err)
	maker.Stop()
	asked := make(chan error)
	go func() {
		var b shm.Block
		asked <- b.UnmarshalBinary(g.Block)
	}()
	maker.Kill()
	err = <-asked
	if !errors.Is(err, shm.ErrUnreachable) || strings.Contains(err.Error(), "in time") {
		t.Errorf("%v, want ErrUnreachable at once", err)
	}
}

// Many goroutines that want many segments at once get them, and each segment once.
func TestHandleManyAtOnce(t *testing.T) {
	const segments = 20
	maker := relative.Start(t, 1)
	var all []Guarded
	for range segments {
		maker.Tell("new")
		g, err := guarded(maker.Line(), 1)
		proctest.Must(t, err)
		all = append(all, g)
	}
	var group sync.WaitGroup
	blocks := make([][2]shm.Block, segments)
	for i := range blocks {
		for j := range blocks[i] {
			group.Go(func() {
				if err := blocks[i][j].UnmarshalBinary(all[i].Block); err != nil {
					t.Error(err)
				}
			})
		}
	}
	group.Wait()
	for i := range blocks {
		if a, b := blocks[i][0].Segment(), blocks[i][1].Segment(); a != b || a.Info().Living != 2 {
			t.Errorf("segment %d: %p and %p, %d living", i, a, b, a.Info().Living)
		}
	}
	runtime.KeepAlive(blocks)
}

// asksUnderLimit asks for more segments than it may have descriptors for.
var asksUnderLimit = process.Register("asks-under-limit", func(ctx context.Context, all []Guarded) error {
	before := unwatched()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	succeeded, refused := 0, 0
	for n := 3; succeeded == 0; n++ {
		free := n // numbers
		for _, fd := range openFiles() {
			if fd < n {
				free--
			}
		}
		narrow := syscall.Rlimit{Cur: uint64(n), Max: limit.Max}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &narrow); err != nil {
			return err
		}
		got := 0
		var segments []*shm.Segment
		for _, g := range all {
			var b shm.Block
			err := b.UnmarshalBinary(g.Block)
			if err == nil {
				got++
				segments = append(segments, b.Segment())
			} else if refused++; !errors.Is(err, syscall.EMFILE) {
				return fmt.Errorf("with a limit of %d: %w", n, err)
			}
		}
		if got > free/2 || got < (free-3)/4 && got < len(all) { // two a segment and one or two to watch others, one while it is taken over, two to watch relatives
			return fmt.Errorf("%d segments with %d descriptors", got, free)
		}
		if got == len(all) {
			succeeded++
		}
		for _, s := range segments {
			if err := s.Close(); err != nil {
				return err
			}
		}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			return err
		}
		// A closed segment keeps its participant until its last handle is unreachable.
		after := unwatched()
		for deadline := time.Now().Add(10 * time.Second); !slices.Equal(after, before) && time.Now().Before(deadline); after = unwatched() {
			runtime.GC()
			time.Sleep(time.Millisecond)
		}
		if !slices.Equal(after, before) {
			return fmt.Errorf("with a limit of %d: descriptors %v, before %v", n, after, before)
		}
	}
	if refused == 0 {
		return errors.New("the limit did not limit")
	}
	return nil
})

// A process that is short of descriptors is told so, and nothing is left of what it was sent.
func TestHandleDescriptorLimit(t *testing.T) {
	var all []Guarded
	var segments []*shm.Segment
	for range 4 {
		seg, g := mustGuarded(t)
		all, segments = append(all, g), append(segments, seg)
	}
	join(t, start(t, asksUnderLimit, all))
	for _, seg := range segments {
		living(t, seg, 1)
	}
}

// TestHandleProtocol: answers that make no sense, to a question or to none, are an error of the child that gave them.
func TestHandleProtocol(t *testing.T) {
	for what, files := range map[string]int{
		"q\x00": 0, // no question
		"q\x00\x01\x00" + strings.Repeat("x", 15): 0,
		"q\x01\x01\x00" + strings.Repeat("x", 16): 1, // descriptors where there are none
		"q\x00\x01\x00" + strings.Repeat("x", 16): 2,
		"a\x00":                             0,
		"a\x00\x01\x00":                     0, // to no question
		"a\x00\x01\x01":                     2,
		"a\x00\x01\x01x":                    2,
		"a\x00\x01\x01 ":                    1, // too few
		"a\x00\x01\xff\xff\xff\xff\xff\x01": 2,
		"a\x00\x01\x00" + strings.Repeat("x", 2000): 0,
		"e\x00": 2,
	} {
		p := start(t, babblesFiles, Babble{what, files})
		if err := p.Join(context.Background()); !errors.Is(err, process.ErrProtocol) {
			t.Errorf("%.10q with %d files: %v, want ErrProtocol", what, files, err)
		}
	}
}

// Babble is a packet, and how many descriptors go with it.
type Babble struct {
	Packet string
	Files  int
}

var babblesFiles = process.Register("babbles-files", func(ctx context.Context, b Babble) error {
	files := []*os.File{os.Stdin, os.Stdout}
	if err := sys.SendPacket(os.NewFile(3, ""), []byte(b.Packet), files[:b.Files]...); err != nil {
		return err
	}
	os.Exit(1)
	return nil
})
