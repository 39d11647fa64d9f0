package queue_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shoal-ipc/shoal/queue"
	"github.com/shoal-ipc/shoal/shm"
)

type Job struct {
	ID   int
	Text string
}

// A producer and a consumer, which are goroutines here and look the same as processes.
func ExampleQueue() {
	ctx := context.Background()
	seg, err := shm.Anonymous(0)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer seg.Close()
	jobs, err := queue.New[Job](seg, "jobs", 64)
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() {
		for i, text := range []string{"wash", "dry", "fold"} {
			if err := jobs.Put(ctx, Job{i, text}); err != nil {
				fmt.Println(err)
			}
		}
		jobs.Shutdown()
	}()
	for job, err := range jobs.All(ctx) { // until Shutdown
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(job.ID, job.Text)
	}
	// Output:
	// 0 wash
	// 1 dry
	// 2 fold
}

func ExampleQueue_TryPut() {
	seg, err := shm.Anonymous(0)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer seg.Close()
	q, err := queue.New[float64](seg, "", 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(q.TryPut(1.5), q.TryPut(2.5))
	fmt.Println(q.TryGet())
	fmt.Println(q.TryGet())
	// Output:
	// <nil> queue: full
	// 1.5 <nil>
	// 0 queue: empty
}

// An answer comes through a queue that the request brings along.
func ExampleQueue_reply() {
	type Request struct {
		Text  string
		Reply *queue.Queue[string]
	}
	ctx := context.Background()
	seg, err := shm.Anonymous(0)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer seg.Close()
	requests, err := queue.New[Request](seg, "requests", 8)
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() { // in another process, as a rule
		r, err := requests.Get(ctx)
		if err == nil {
			err = r.Reply.Put(ctx, "you said "+r.Text)
		}
		if err != nil {
			fmt.Println(err)
		}
	}()
	reply, err := queue.New[string](seg, "", 1)
	if err == nil {
		err = requests.Put(ctx, Request{"hello", reply})
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(reply.Get(ctx))
	// Output: you said hello <nil>
}

func ExampleJoinableQueue() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	seg, err := shm.Anonymous(0)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer seg.Close()
	tasks, err := queue.NewJoinable[int](seg, "", 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() {
		for range tasks.All(ctx) {
			tasks.TaskDone()
		}
	}()
	for i := range 10 {
		if err := tasks.Put(ctx, i); err != nil {
			fmt.Println(err)
			return
		}
	}
	err = tasks.Join(ctx)
	var lost *queue.LostError
	if errors.As(err, &lost) {
		fmt.Println(lost.Items, "tasks died with the processes that had them")
	}
	fmt.Println(err, tasks.Unfinished())
	// Output: <nil> 0
}
