package shm_test

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
)

// owns makes a segment with a name, and one without, and stays until it is killed.
var owns = proctest.NewRole("owns", func(ctx context.Context, c *proctest.Child, name string) error {
	seg, err := shm.OpenOrCreate(name, 1)
	if err != nil {
		return err
	}
	none, err := shm.Anonymous(1)
	if err != nil {
		return err
	}
	for _, s := range []*shm.Segment{seg, none} {
		if _, err := shm.NewBlock(s, "b", 64); err != nil {
			return err
		}
	}
	c.Say("made")
	c.Hear()
	runtime.KeepAlive(none)
	return seg.Close()
})

type nameAndHandle struct {
	Name string
	B    *shm.Block
}

var writesBoth = process.Register("writes-both", func(ctx context.Context, a nameAndHandle) error {
	seg, err := shm.Open(a.Name)
	if err != nil {
		return err
	}
	defer seg.Close()
	b, err := shm.OpenBlock(seg, "b")
	if err != nil {
		return err
	}
	b.Bytes()[0] = 'n'
	a.B.Bytes()[1] = 'h'
	runtime.KeepAlive(b)
	return nil
})

// TestConformance has the behaviours of Python's shared memory blocks: there a name is a block of bytes, here it is
// a segment, in which objects have names of their own.
func TestConformance(t *testing.T) {
	t.Run("HEAP-02", func(t *testing.T) {
		// Objects that are freed in the garbage collector's cleanups, and handles that end there, while others are made
		// and opened.
		seg := proctest.Segment(t, 16<<20)
		kept := block(t, seg, "kept", 8)
		freed := make(chan error, 2000)
		for i := range cap(freed) {
			b := block(t, seg, "", 8)
			runtime.AddCleanup(new(*int), func(b *shm.Block) { freed <- shm.Free(b) }, b)
			if _, err := shm.OpenBlock(seg, "kept"); err != nil {
				t.Fatal(err)
			}
			if i%100 == 0 {
				runtime.GC()
			}
		}
		for n := 0; n < cap(freed); {
			select {
			case err := <-freed:
				proctest.Must(t, err)
				n++
			default:
				runtime.GC()
			}
		}
		settled(t, seg, 1)
		shm.Spill(seg)
		if n := seg.Info().Objects; n != 1 {
			t.Errorf("%d objects", n)
		}
		runtime.KeepAlive(kept)
	})
	t.Run("SHM-01", func(t *testing.T) {
		for what, err := range map[string]error{
			"Create": second(shm.Create("a\x00b", 1)), "Open": second(shm.Open("a\x00b")), "Remove": shm.Remove("a\x00b"),
		} {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
	t.Run("SHM-02", func(t *testing.T) {
		seg, name := named(t, 1<<20)
		if seg.Name() != name || seg.Info().Size < 1<<20 {
			t.Errorf("%+v", seg.Info())
		}
		b := block(t, seg, "b", 512)
		if len(b.Bytes()) != 512 {
			t.Errorf("%d bytes", len(b.Bytes()))
		}
		b.Bytes()[100] = 42
		other, err := shm.OpenOrCreate(name, 0) // the size is that of the one that is there
		proctest.Must(t, err)
		defer other.Close()
		c, err := shm.OpenBlock(other, "b")
		proctest.Must(t, err)
		if c.Bytes()[100] != 42 || other.Info().Size != seg.Info().Size {
			t.Error("the second attachment sees something else")
		}
		// A difference: one that is too small is an error, not a surprise.
		if _, err := shm.OpenOrCreate(name, 2<<20); !errors.Is(err, shm.ErrSize) {
			t.Errorf("asked for more than there is: %v", err)
		}
		runtime.KeepAlive(b)
	})
	t.Run("SHM-03", func(t *testing.T) {
		for _, size := range []int{-1, math.MinInt, math.MaxInt} {
			if _, err := shm.Create(proctest.Name(t), size); !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("size %d: %v", size, err)
			}
		}
		if _, err := shm.Open(""); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("no name: %v", err)
		}
		// A difference: a size is a ceiling, and 0 the default.
		seg, _ := named(t, 0)
		if seg.Info().Size != shm.DefaultSize {
			t.Errorf("%+v", seg.Info())
		}
	})
	t.Run("SHM-06", func(t *testing.T) {
		seg, name := named(t, 1)
		b := block(t, seg, "", 8)
		data, err := b.MarshalBinary()
		proctest.Must(t, err)
		var c shm.Block
		proctest.Must(t, c.UnmarshalBinary(data))
		c.Bytes()[0] = 7
		if b.Bytes()[0] != 7 {
			t.Error("other memory")
		}
		proctest.Must(t, shm.Remove(name))
		proctest.Must(t, seg.Close())
		if err := new(shm.Block).UnmarshalBinary(data); !errors.Is(err, shm.ErrUnreachable) || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after Remove: %v", err)
		}
		data, err = b.Handle().MarshalBinary() // without the name
		proctest.Must(t, err)
		if err := new(shm.Block).UnmarshalBinary(data); !errors.Is(err, shm.ErrUnreachable) ||
			strings.Contains(err.Error(), "anonymous") {
			t.Errorf("a handle without the name: %v", err)
		}
		runtime.KeepAlive(&c)
	})
	t.Run("SHM-07", func(t *testing.T) {
		seg, name := named(t, 1)
		b := block(t, seg, "b", 8)
		proctest.Must(t, process.Run(t.Context(), writesBoth, nameAndHandle{name, b}))
		if string(b.Bytes()[:2]) != "nh" {
			t.Errorf("%q", b.Bytes()[:2])
		}
	})
	t.Run("SHM-11", func(t *testing.T) {
		name := proctest.Name(t)
		p := owns.Start(t, name)
		p.WaitLine("made")
		proctest.Must(t, p.Process().Terminate())
		p.Wait()
		// The anonymous one is gone with its process. That with a name stays, without anybody to warn of it, until
		// somebody removes it or asks for a fresh one.
		in, err := shm.Stat(name)
		proctest.Must(t, err)
		if in.Living != 0 || in.Objects != 1 {
			t.Errorf("%+v", in)
		}
		seg, err := shm.OpenOrCreate(name, 1, shm.Options{Fresh: true})
		proctest.Must(t, err)
		defer seg.Close()
		if n := seg.Info().Objects; n != 0 {
			t.Errorf("%d objects in a fresh segment", n)
		}
	})
	staysAfter := func(t *testing.T, end func(p *proctest.Proc)) {
		seg, name := named(t, 1)
		p := owns.Start(t, name)
		p.WaitLine("made")
		end(p)
		p.Wait()
		again, err := shm.Open(name)
		proctest.Must(t, err)
		defer again.Close()
		if shm.UUID(again) != shm.UUID(seg) {
			t.Error("it is another segment")
		}
		if _, err := shm.OpenBlock(seg, "b"); err != nil {
			t.Error(err)
		}
	}
	t.Run("SHM-12", func(t *testing.T) { staysAfter(t, func(p *proctest.Proc) { p.Tell("end") }) })
	t.Run("SHM-13", func(t *testing.T) {
		// A difference: nobody's end removes a name that others use, a violent one neither.
		staysAfter(t, func(p *proctest.Proc) { p.Kill() })
	})
	t.Run("SHM-14", func(t *testing.T) {
		// A difference: such names are refused.
		for _, name := range []string{"a:b", "a\nb", "a b", "\u00e4"} {
			if _, err := shm.OpenOrCreate(name, 1); !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%q: %v", name, err)
			}
			if _, err := os.Lstat(fileOf(name)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%q left something: %v", name, err)
			}
		}
	})
	t.Run("RTR-01", func(t *testing.T) {
		// What a killed program leaves is what it made with a name, and only while nobody asks for a fresh one.
		name := proctest.Name(t)
		p := owns.Start(t, name)
		p.WaitLine("made")
		p.Kill()
		p.Wait()
		list, err := shm.List() // the error is of others
		found := false
		for _, in := range list {
			if in.Name == name {
				found = true
				if in.Living != 0 {
					t.Errorf("%+v", in)
				}
			}
		}
		if left := leftovers(t); !found || len(left) != 0 {
			t.Errorf("List: %+v, %v, and half made: %v", list, err, left)
		}
	})
	t.Run("RTR-04", func(t *testing.T) {
		if _, err := shm.Create(strings.Repeat("x", 201), 1); !errors.Is(err, fs.ErrInvalid) {
			t.Error(err)
		}
	})
	t.Run("RTR-08", func(t *testing.T) {
		// A name that the program has is no affair of a child that ends: neither removed nor reported.
		seg, name := named(t, 1)
		b := block(t, seg, "b", 8)
		proctest.Must(t, process.Run(t.Context(), writesBoth, nameAndHandle{name, b}))
		if _, err := os.Stat(fileOf(name)); err != nil {
			t.Error(err)
		}
	})
}
