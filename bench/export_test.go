package bench

import "context"

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
			if !isPeer(impl) {
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
