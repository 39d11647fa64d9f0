package lifetime_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoal-ipc/shoal/internal/lifetime"
)

type key struct{}

// derived are contexts of every kind under c.
func derived(t *testing.T, c context.Context) map[string]context.Context {
	cancelled, cancel := context.WithCancel(c)
	t.Cleanup(cancel)
	timed, cancel := context.WithTimeout(c, time.Hour)
	t.Cleanup(cancel)
	value := context.WithValue(c, key{}, 1)
	below, cancel := context.WithCancel(value)
	t.Cleanup(cancel)
	return map[string]context.Context{
		"itself": c, "WithCancel": cancelled, "WithTimeout": timed, "WithValue": value, "WithCancel of WithValue": below,
	}
}

// TestEnd: c and all that is derived from it end as it was told, before and after they are derived.
func TestEnd(t *testing.T) {
	why := errors.New("why")
	for _, err := range []error{context.Canceled, context.DeadlineExceeded} {
		for _, cause := range []error{nil, why} {
			t.Run(fmt.Sprint(err, cause), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := lifetime.New(time.Time{})
					if _, ok := c.Deadline(); ok || c.Err() != nil || context.Cause(c) != nil || c.Value(key{}) != nil {
						t.Error("a new one has a deadline, has ended, or has values")
					}
					before := derived(t, c)
					for name, d := range before {
						if d.Err() != nil {
							t.Errorf("%s has ended", name)
						}
					}
					var called atomic.Int32
					stop := context.AfterFunc(c, func() { called.Add(1) })
					context.AfterFunc(c, func() { called.Add(10) })
					if !stop() || stop() {
						t.Error("stop")
					}
					c.End(err, cause)
					c.End(errors.New("too late"), errors.New("too late"))
					synctest.Wait()
					context.AfterFunc(c, func() { called.Add(100) })
					synctest.Wait()
					if n := called.Load(); n != 110 {
						t.Errorf("functions were called: %d, want 110", n)
					}
					for _, ds := range []map[string]context.Context{before, derived(t, c)} {
						for name, d := range ds {
							<-d.Done()
							want := cause
							if want == nil {
								want = err
							}
							if d.Err() != err || context.Cause(d) != want {
								t.Errorf("%s: %v, cause %v, want %v, %v", name, d.Err(), context.Cause(d), err, want)
							}
						}
					}
				})
			})
		}
	}
}

// TestDeadline: it ends by itself if it is not told, with time for that; what is derived from it sees the deadline.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := time.Now().Add(time.Second)
		c := lifetime.New(at)
		for name, d := range derived(t, c) {
			if got, ok := d.Deadline(); !ok || !got.Equal(at) {
				t.Errorf("%s: deadline %v, %t", name, got, ok)
			}
		}
		time.Sleep(time.Second)
		if c.Err() != nil {
			t.Error("it did not wait for the cause")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if c.Err() != context.DeadlineExceeded || context.Cause(c) != context.DeadlineExceeded {
			t.Errorf("%v, cause %v", c.Err(), context.Cause(c))
		}

		why := errors.New("why")
		c = lifetime.New(time.Now().Add(time.Second))
		time.Sleep(time.Second)
		c.End(context.DeadlineExceeded, why)
		time.Sleep(time.Second)
		if c.Err() != context.DeadlineExceeded || context.Cause(c) != why {
			t.Errorf("told at the deadline: %v, cause %v", c.Err(), context.Cause(c))
		}
	})
}

// TestLook: however long it takes between calls of Err, it looks often enough, and not each time, and sees what then ends it.
func TestLook(t *testing.T) {
	for _, each := range []time.Duration{10 * time.Microsecond, 100 * time.Microsecond, time.Millisecond, 20 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			c := lifetime.New(time.Time{})
			var looks int
			told, came := make(chan struct{}), false
			c.Look(func() bool {
				looks++
				if came {
					close(told)
				}
				return came
			})
			go func() {
				<-told
				c.End(context.Canceled, nil)
			}()
			start := time.Now()
			calls := 0
			for ; time.Since(start) < 100*time.Millisecond; calls++ {
				if c.Err() != nil {
					t.Fatal("it ended")
				}
				time.Sleep(each)
			}
			if looks > 1000 || looks > calls || looks < 4 {
				t.Errorf("%v between calls: %d looks in %d calls", each, looks, calls)
			}
			came = true
			at := time.Now()
			for c.Err() == nil {
				time.Sleep(each)
			}
			if took := time.Since(at); took > max(5*time.Millisecond, 2*each) {
				t.Errorf("%v between calls: it took %v", each, took) // by the test's own clock, which stands still while it computes
			}
		})
	}
}

// TestFarDeadline: one that is as far as can be said has not passed.
func TestFarDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := lifetime.New(time.Now().Add(math.MaxInt64))
		time.Sleep(time.Hour)
		synctest.Wait()
		if c.Err() != nil {
			t.Error(c.Err())
		}
		c.End(context.Canceled, nil)
	})
}
