// Package proctest lets the tests of a package start processes, and notices what tests leave behind.
//
// The test binary starts itself with a role. Test and role talk in lines over two pipes of their own, so that
// nobody sleeps to synchronise and the role's standard streams stay free:
//
//	func TestMain(m *testing.M) { proctest.Main(m) }
//
//	var hold = proctest.NewRole("hold", func(ctx context.Context, c *proctest.Child, l *locks.Lock) error {
//		if err := l.Acquire(ctx); err != nil {
//			return err
//		}
//		c.Say("held")
//		c.Hear() // "go on"
//		return l.Release()
//	})
//
//	func TestOwnerKilled(t *testing.T) {
//		p := hold.Start(t, l)
//		p.WaitLine("held")
//		p.Kill()
//		...
//	}
//
// Nothing here asserts how long something takes. A watchdog ends a test binary that hangs, with the stacks of
// all processes.
package proctest
