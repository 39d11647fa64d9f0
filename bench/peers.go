package bench

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed peers
var peerFiles embed.FS

// errMissing is returned for a peer that cannot run on this machine.
var errMissing = errors.New("missing")

// peers are the programs of the directory peers, compiled as they are asked for.
type peers struct {
	dir   string // where they are
	built map[string]error
}

// newPeers writes the sources down.
func newPeers() (*peers, error) {
	dir, err := os.MkdirTemp("", "shoal-bench-")
	if err != nil {
		return nil, err
	}
	p := &peers{dir, make(map[string]error)}
	files, err := fs.Sub(peerFiles, "peers")
	if err == nil {
		err = os.CopyFS(dir, files)
	}
	if err != nil {
		p.remove()
		return nil, err
	}
	return p, nil
}

func (p *peers) remove() error { return os.RemoveAll(p.dir) }

// program is the one that measures a side, and the names by which it knows the row and the implementation.
func program(j job) (name, row, impl string) {
	topic, _, _ := strings.Cut(j.Row, ".")
	switch j.Impl {
	case limit:
		if j.Row == "spsc.pingpong" || j.Row == "queue.pingpong" {
			j.Row = "cacheline.pingpong"
		}
		return "futex", j.Row, j.Impl
	case python:
		switch j.Row {
		case "queue.batch", "queue.putget": // one at a time, which is all that Python has
			j.Row = "queue.stream"
		case "queue.sleepwake":
			j.Row = "queue.pingpong"
		}
		switch topic {
		case "queue", "codec":
			return "queues.py", j.Row, j.Impl
		case "pool":
			return "pools.py", j.Row, j.Impl
		}
		return "peer.py", j.Row, j.Impl
	case pythonSpawn:
		return "spawned.py", j.Row, j.Impl
	case boost, iceoryx:
		return j.Impl, j.Row, j.Impl
	}
	switch j.Row { // by C's programs of other topics
	case "broadcast.stream":
		return "spsc", "spsc.stream", j.Impl
	case "spsc.sleepwake", "queue.sleepwake":
		return "futex", "futex.pingpong", j.Impl
	case "queue.big", "codec.floats":
		return "memcpy", j.Row, j.Impl
	}
	return topic, j.Row, j.Impl
}

// run measures a side once.
func (p *peers) run(ctx context.Context, j job) (sample, error) {
	name, row, impl := program(j)
	argv := []string{filepath.Join(p.dir, name)}
	err, ok := p.built[name]
	if strings.HasSuffix(name, ".py") {
		var interpreter string
		if interpreter, err = pythonPath(); err != nil {
			err = fmt.Errorf("%w: %w", errMissing, err)
		}
		argv = append([]string{interpreter}, argv...)
	} else if !ok {
		err = p.compile(ctx, name)
		p.built[name] = err
	}
	if err != nil {
		return sample{}, err
	}
	cpus := make([]string, len(j.CPUs))
	for i, cpu := range j.CPUs {
		cpus[i] = strconv.Itoa(cpu)
	}
	argv = append(argv, row, impl, strconv.Itoa(j.N), strings.Join(cpus, ","))
	var out, errs bytes.Buffer
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		if e, ok := errors.AsType[*exec.ExitError](err); ok && e.ExitCode() == 3 { // it says so, as peer.py does of modules
			return sample{}, fmt.Errorf("%w: %s", errMissing, bytes.TrimSpace(errs.Bytes()))
		}
		return sample{}, fmt.Errorf("%s: %w: %s", strings.Join(argv[len(argv)-5:], " "), err, bytes.TrimSpace(errs.Bytes()))
	}
	return parseSample(out.Bytes())
}

// pythonPath is the first Python of PATH; if the system's own is in PATH, that one, which has the system's packages and is built to
// be fast, as others are not always.
func pythonPath() (string, error) {
	const name, system = "python3", "/usr/bin"
	if slices.Contains(filepath.SplitList(os.Getenv("PATH")), system) {
		if found, err := exec.LookPath(filepath.Join(system, name)); err == nil {
			return found, nil
		}
	}
	return exec.LookPath(name)
}

// iceoryxFlags are where its headers are, which have their version in the name of their directory, and its libraries.
func iceoryxFlags() (flags []string) {
	dirs, _ := filepath.Glob("/usr/include/iceoryx/v*")
	for _, d := range dirs {
		flags = append(flags, "-I"+d)
	}
	return append(flags, "-liceoryx_posh", "-liceoryx_hoofs", "-liceoryx_platform")
}

// compile compiles a program of one file. The error is errMissing if there is no compiler, or if the source itself says
// that it cannot be compiled here, by #error.
func (p *peers) compile(ctx context.Context, name string) error {
	compiler, source, last := "gcc", name+".c", []string(nil)
	if _, err := fs.Stat(peerFiles, path.Join("peers", source)); err != nil {
		compiler, source, last = "g++", name+".cpp", []string{"-lrt"}
		if name == iceoryx {
			last = iceoryxFlags()
		}
	}
	if _, err := exec.LookPath(compiler); err != nil {
		return fmt.Errorf("%w: %w", errMissing, err)
	}
	args := append([]string{"-O2", "-pthread", "-o", name, source}, last...)
	c := exec.CommandContext(ctx, compiler, args...)
	c.Dir = p.dir
	// When ctx ends only the compiler's driver is killed: what it has in temporary files it does not remove, and the
	// passes that it started hold its output until they are done.
	c.Env = append(c.Environ(), "TMPDIR="+p.dir)
	c.WaitDelay = 100 * time.Millisecond
	if out, err := c.CombinedOutput(); err != nil {
		text, _, _ := strings.Cut(string(out), "\n")
		err = fmt.Errorf("%s %s: %w %s", compiler, strings.Join(args, " "), err, text)
		if bytes.Contains(out, []byte("#error")) {
			err = fmt.Errorf("%w: %w", errMissing, err)
		}
		return err
	}
	return nil
}
