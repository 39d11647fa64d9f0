//go:build !crashpoint

package demo

// arm does nothing in this build.
func (p Point) arm() (disarm func()) { return func() {} }

// watch does nothing in this build.
func (j *job) watch(m *member) {}
