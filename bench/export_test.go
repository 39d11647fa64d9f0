package bench

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/shm"
)

// Comparison is one row in one mode.
type Comparison = comparison

// Compare readies the rows that o chooses.
func Compare(o Options) (all []*Comparison, done func() error, err error) {
	cs, err := compare(o)
	if err != nil {
		return nil, nil, err
	}
	return cs.all, cs.Close, nil
}

// Title is the row's name and the mode.
func (c *Comparison) Title() string { return c.row.name + "/mode=" + string(c.mode) }

// Repeat measures all sides once more; the first time it finds out for how many operations.
func (c *Comparison) Repeat(ctx context.Context) error { return c.repeat(ctx, func(string) {}) }

// PeersOnly leaves out the sides that are written in Go, and reports whether there are others.
func (c *Comparison) PeersOnly() bool {
	c.sides = slices.DeleteFunc(c.sides, func(s *side) bool { return !isPeer(s.impl) })
	return len(c.sides) > 0
}

// Reset forgets what was found, but not for how many operations.
func (c *Comparison) Reset() {
	for i, s := range c.sides {
		c.sides[i] = newSide(s.impl)
		c.sides[i].n, c.sides[i].err = s.n, s.err
	}
}

// Tried reports whether that has been.
func (c *Comparison) Tried() bool { return c.tried }

// Result is what was found so far.
func (c *Comparison) Result() *Result { return c.result() }

// Sides are the rows and implementations that are written in Go, and those that the table of rows has of them.
func Sides() (written, listed []string) {
	for name := range ours {
		written = append(written, name)
	}
	for _, r := range rows {
		for _, impl := range r.sides {
			if !isPeer(impl) && impl != shoalP1 {
				listed = append(listed, job{Row: r.name, Impl: impl}.String())
			}
		}
	}
	return written, listed
}

// Nanoseconds and Times are how numbers are printed.
var (
	Nanoseconds = nanoseconds
	Times       = ratio
)

// Sample is what one measurement found.
type Sample = sample

// ParseSample reads what a process prints.
var ParseSample = parseSample

// Check and CheckShares are what a sample must pass.
func (s *sample) Check(mode Mode, cpus []int, processes int) error {
	return s.check(mode, cpus, processes)
}
func (s *sample) CheckShares(n int) error { return s.checkShares(n) }

// Part and Meter are what a side has.
type (
	Part  = part
	Meter = meter
)

// TwoSides runs f as both sides of a row of n operations, in this process, and returns what they found and what they said.
func TwoSides(n int, f func(p *Part, m *Meter) error) (s Sample, err error) {
	seg, err := shm.Anonymous(0)
	if err != nil {
		return s, err
	}
	defer seg.Close()
	o, err := newObjects(seg, "")
	if err != nil {
		return s, err
	}
	var ms [2]*meter
	err = goroutines(func(side int) error {
		ms[side] = &meter{n: n}
		return f(&part{Job: job{N: n}, Side: side, Sides: 2, Shared: o}, ms[side])
	})
	for _, m := range ms {
		s.join(m.s)
	}
	return s, err
}

// Contended, HandOver, Numbered and WaitFor are what rows have in common, for other locks than Shoal's.
func (p *part) Contended(m *meter, add func(x *uint64, n uint64) (mine int, err error)) error {
	return p.contended(m, add)
}
func (p *part) HandOver(ctx context.Context, m *meter, l locks.Acquirer) error {
	return p.handOver(ctx, m, l)
}
func (p *part) Numbered(m *meter, there, back, await, answer func() error) error {
	return p.numbered(m, there, back, await, answer)
}
func (p *part) WaitFor(ctx context.Context) error { return p.waitFor(ctx, p.Shared.Lock) }

// Judge is what becomes of a row that counts, and whose sides found this; quick is as in Options.
func Judge(found Sample, asked map[string]float64, quick bool) (*Result, error) {
	c := &comparison{row: row{name: "row"}, mode: OneCPU, quick: quick}
	for name, n := range asked {
		c.row.counts = append(c.row.counts, most{name, n})
	}
	for _, impl := range []string{shoal, shoalP1} {
		s := newSide(impl)
		if err := c.add(s, found); err != nil {
			return nil, err
		}
		found.NS *= 20
		c.sides = append(c.sides, s)
	}
	c.sum()
	return c.result(), nil
}

// CompareFake is a row, beside a peer in C whose program is a script for sh.
func CompareFake(rowName, script string) (c *Comparison, done func() error, err error) {
	cs, err := compare(Options{Only: rowName, Peers: true, Quick: true})
	if err != nil {
		return nil, nil, err
	}
	c = cs.all[0]
	c.sides = slices.DeleteFunc(c.sides, func(s *side) bool { return s.impl != shoal && s.impl != "c" })
	name, _, _ := program(job{Row: rowName, Impl: "c"})
	cs.peers.built[name] = nil
	return c, cs.Close, os.WriteFile(filepath.Join(cs.peers.dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o777)
}

// CompareWithout is a row whose peer in C does not compile.
func CompareWithout(rowName string) (c *Comparison, done func() error, err error) {
	c, done, err = CompareFake(rowName, "exit 0")
	if err == nil {
		name, _, _ := program(job{Row: rowName, Impl: "c"})
		delete(c.peers.built, name)
		err = os.WriteFile(filepath.Join(c.peers.dir, name+".c"), []byte("#error no"), 0o666)
	}
	return c, done, err
}
