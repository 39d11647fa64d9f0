package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/queue"
	"github.com/shoal-ipc/shoal/shm"
)

// numbers is a queue of numbers of any form, one of which is not nil: of plain data or of strings, that counts or does not. If they are to be
// Passed, three of four strings are longer than a slot.
type numbers struct {
	P  *queue.Queue[uint64]
	PJ *queue.JoinableQueue[uint64]
	S  *queue.Queue[string]
	SJ *queue.JoinableQueue[string]

	Passed bool
}

// form is how a queue of numbers is to be.
type form struct {
	name                   string
	strings, passed, count bool
}

var forms = []form{
	{name: "plain"},
	{name: "message", strings: true},
	{name: "passed", strings: true, passed: true},
	{name: "plain counts", count: true},
	{name: "message counts", strings: true, count: true},
	{name: "passed counts", strings: true, passed: true, count: true},
}

// newNumbers makes a queue of at most n numbers. If n is 0 it grows, and first is how many its first ring holds.
func newNumbers(t testing.TB, seg *shm.Segment, f form, n, first int) (q numbers) {
	t.Helper()
	o := queue.SmallFirst(queue.Options{}, first)
	q.Passed = f.passed
	var err error
	switch {
	case f.strings && f.count:
		q.SJ, err = queue.NewJoinable[string](seg, "", n, o)
	case f.strings:
		q.S, err = queue.New[string](seg, "", n, o)
	case f.count:
		q.PJ, err = queue.NewJoinable[uint64](seg, "", n, o)
	default:
		q.P, err = queue.New[uint64](seg, "", n, o)
	}
	proctest.Must(t, err)
	return q
}

// another is another handle of the same queue.
func (q numbers) another(t testing.TB) numbers {
	t.Helper()
	b, err := q.object().MarshalBinary()
	proctest.Must(t, err)
	q, err = q.open(b)
	proctest.Must(t, err)
	return q
}

// open makes a handle of a queue of this form.
func (q numbers) open(b []byte) (numbers, error) {
	switch {
	case q.P != nil:
		q.P = new(queue.Queue[uint64])
	case q.PJ != nil:
		q.PJ = new(queue.JoinableQueue[uint64])
	case q.S != nil:
		q.S = new(queue.Queue[string])
	default:
		q.SJ = new(queue.JoinableQueue[string])
	}
	return q, q.object().UnmarshalBinary(b)
}

func (q numbers) plain() *queue.Queue[uint64] {
	if q.PJ != nil {
		return &q.PJ.Queue
	}
	return q.P
}

func (q numbers) strings() *queue.Queue[string] {
	if q.SJ != nil {
		return &q.SJ.Queue
	}
	return q.S
}

func (q numbers) isPlain() bool { return q.plain() != nil }

func (q numbers) object() shm.Object {
	switch {
	case q.P != nil:
		return q.P
	case q.PJ != nil:
		return q.PJ
	case q.S != nil:
		return q.S
	}
	return q.SJ
}

// text is a number as a string, which shows when it is torn. Those that are passed are of one length: the blocks of a segment are never
// merged, so that a segment that was once full of small ones has no room for larger ones.
func (q numbers) text(x uint64) string {
	s := fmt.Sprintf("%020d", x)
	if q.Passed && x%4 != 3 {
		return s + strings.Repeat(" "+s, 50)
	}
	return s + " " + s
}

func (q numbers) number(s string) (uint64, error) {
	first, _, _ := strings.Cut(s, " ")
	x, err := strconv.ParseUint(first, 10, 64)
	if err == nil && s != q.text(x) {
		err = fmt.Errorf("a torn item: %q", s)
	}
	return x, err
}

func (q numbers) read(s string, err error) (uint64, error) {
	if err != nil {
		return 0, err
	}
	return q.number(s)
}

func (q numbers) put(ctx context.Context, x uint64) error {
	if q.isPlain() {
		return q.plain().Put(ctx, x)
	}
	return q.strings().Put(ctx, q.text(x))
}

func (q numbers) tryPut(x uint64) error {
	if q.isPlain() {
		return q.plain().TryPut(x)
	}
	return q.strings().TryPut(q.text(x))
}

func (q numbers) putMany(ctx context.Context, xs ...uint64) (int, error) {
	if q.isPlain() {
		return q.plain().PutMany(ctx, xs)
	}
	var ss []string
	for _, x := range xs {
		ss = append(ss, q.text(x))
	}
	return q.strings().PutMany(ctx, ss)
}

func (q numbers) get(ctx context.Context) (uint64, error) {
	if q.isPlain() {
		return q.plain().Get(ctx)
	}
	return q.read(q.strings().Get(ctx))
}

func (q numbers) tryGet() (uint64, error) {
	if q.isPlain() {
		return q.plain().TryGet()
	}
	return q.read(q.strings().TryGet())
}

func (q numbers) getMany(ctx context.Context, most int) ([]uint64, error) {
	if q.isPlain() {
		xs := make([]uint64, most)
		n, err := q.plain().GetMany(ctx, xs)
		return xs[:n], err
	}
	ss := make([]string, most)
	n, err := q.strings().GetMany(ctx, ss)
	var xs []uint64
	for _, s := range ss[:n] {
		x, err := q.number(s)
		if err != nil {
			return xs, err
		}
		xs = append(xs, x)
	}
	return xs, err
}

func (q numbers) len() int {
	if q.isPlain() {
		return q.plain().Len()
	}
	return q.strings().Len()
}

func (q numbers) rings() int {
	if q.isPlain() {
		return queue.Rings(q.plain())
	}
	return queue.Rings(q.strings())
}

func (q numbers) memory() []byte {
	if q.isPlain() {
		return queue.Memory(q.plain())
	}
	return queue.Memory(q.strings())
}

func (q numbers) shutdown() error {
	if q.isPlain() {
		return q.plain().Shutdown()
	}
	return q.strings().Shutdown()
}

func (q numbers) close() error {
	if q.isPlain() {
		return q.plain().Close()
	}
	return q.strings().Close()
}

func (q numbers) counts() bool { return q.PJ != nil || q.SJ != nil }

func (q numbers) taskDone() error {
	if q.PJ != nil {
		return q.PJ.TaskDone()
	}
	return q.SJ.TaskDone()
}

func (q numbers) join(ctx context.Context) error {
	if q.PJ != nil {
		return q.PJ.Join(ctx)
	}
	return q.SJ.Join(ctx)
}

func (q numbers) unfinished() int {
	if q.PJ != nil {
		return q.PJ.Unfinished()
	}
	return q.SJ.Unfinished()
}

// goesOn fills an empty queue, and empties it.
func goesOn(t testing.TB, q numbers, n int) {
	t.Helper()
	many := n
	if n == 0 {
		many = 20
	}
	for i := range many {
		proctest.Must(t, q.put(t.Context(), uint64(i)))
	}
	if q.len() != many {
		t.Errorf("Len %d of %d", q.len(), many)
	}
	if n != 0 {
		want(t, "TryPut into a full queue", q.tryPut(0), queue.ErrFull)
	}
	for i := range many {
		if x, err := q.get(t.Context()); x != uint64(i) || err != nil {
			t.Fatalf("item %d of a queue that goes on: %d, %v", i, x, err)
		}
		if q.counts() {
			proctest.Must(t, q.taskDone())
		}
	}
	if _, err := q.tryGet(); err != queue.ErrEmpty {
		t.Errorf("an empty queue: %v", err)
	}
	if q.counts() {
		proctest.Must(t, q.join(t.Context()))
	}
}

// want checks an error.
func want(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}
