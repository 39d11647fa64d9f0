package process

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"reflect"
)

// pump carries what a child writes from a pipe to a writer.
type pump struct {
	from tail
	to   io.Writer
	done chan struct{}
}

// run copies until the pipe's end. If the writer fails the pipe is closed, and the child's next write finds
// it broken.
func (p *pump) run() {
	defer close(p.done)
	defer p.from.file.Close()
	_, err := io.Copy(p.to, &p.from)
	if f, ok := p.to.(*prefixer); ok && err == nil {
		f.flush()
	}
}

// finish returns when all that the child, which has ended, had written is where it belongs.
func (p *pump) finish() {
	p.from.finish()
	<-p.done
}

// connectOutput gives cmd its standard output and error and returns the pumps this takes, not yet running,
// and the files that are the child's alone: to be closed once it was started. On an error nothing is left
// open.
func connectOutput(cmd *exec.Cmd, name string, o Options) (pumps []*pump, theirs []*os.File, err error) {
	stdout, stderr := o.Stdout, o.Stderr
	if stdout == nil {
		stdout = os.Stdout
	}
	if stderr == nil {
		stderr = os.Stderr
	}
	connect := func(w io.Writer) (*os.File, error) {
		if f, ok := w.(*os.File); ok && !o.Prefix {
			return f, nil
		}
		r, f, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		if o.Prefix {
			w = &prefixer{to: w, prefix: name + ": "}
		}
		pumps = append(pumps, &pump{from: tail{file: r}, to: w, done: make(chan struct{})})
		theirs = append(theirs, f)
		return f, nil
	}
	out, err := connect(stdout)
	if err != nil {
		return nil, nil, err
	}
	errout := out // one pipe for one writer, so that the order is kept and nobody writes to it from two goroutines
	if !same(stdout, stderr) {
		if errout, err = connect(stderr); err != nil {
			closePipes(pumps, theirs)
			return nil, nil, err
		}
	}
	cmd.Stdout, cmd.Stderr = out, errout
	return pumps, theirs, nil
}

// closePipes is for pumps that never ran.
func closePipes(pumps []*pump, theirs []*os.File) {
	for _, p := range pumps {
		p.from.file.Close()
	}
	for _, f := range theirs {
		f.Close()
	}
}

// same reports whether a and b are one writer.
func same(a, b io.Writer) bool {
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

// prefixer puts a prefix before each line and hands on whole lines only, so that the lines of several
// processes do not mix in a file.
type prefixer struct {
	to     io.Writer
	prefix string
	line   []byte // begun, not ended
	out    []byte
}

// maxLine is the length at which a line is cut in two.
const maxLine = 64 << 10

func (p *prefixer) Write(b []byte) (int, error) {
	n := len(b)
	p.out = p.out[:0]
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		part := b[:min(i+1, maxLine)]
		if i < 0 {
			part = b[:min(len(b), maxLine)]
		}
		part = part[:min(len(part), maxLine-len(p.line))]
		b = b[len(part):]
		p.line = append(p.line, part...)
		if part[len(part)-1] == '\n' || len(p.line) == maxLine {
			p.end()
		}
	}
	if len(p.out) == 0 {
		return n, nil
	}
	if _, err := p.to.Write(p.out); err != nil {
		return 0, err
	}
	return n, nil
}

// end moves the line to out.
func (p *prefixer) end() {
	p.out = append(append(p.out, p.prefix...), p.line...)
	if p.line[len(p.line)-1] != '\n' {
		p.out = append(p.out, '\n')
	}
	p.line = p.line[:0]
}

// flush writes a last line that was not ended.
func (p *prefixer) flush() {
	if len(p.line) > 0 {
		p.out = p.out[:0]
		p.end()
		p.to.Write(p.out) // nobody is left to hear of an error
	}
}
