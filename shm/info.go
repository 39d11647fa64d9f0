package shm

import (
	"io/fs"
	"iter"
	"runtime"
	"time"
)

// Info describes a segment.
type Info struct {
	Name         string
	Size, Used   int // bytes; Used counts tables and the blocks that are not free
	Objects      int
	Living, Dead int // participants; Dead ones ended or left, and nobody has tidied up yet
	Creator      Participant
	Created      time.Time
	Mode         fs.FileMode // permission bits of a named segment
}

// Participant is a process that has, or had, a segment mapped.
type Participant struct {
	Pid   int       // as it sees itself; 0 (and no Since) for one that has not begun to run
	Since time.Time // since when it has the segment; of a Creator, when it made the segment or object
	Alive bool
}

// ObjectInfo describes an object.
type ObjectInfo struct {
	Name, Kind, Type string // "jobs", "queue", "main.Job"; the name may be ""
	Code             Code   // of values and arrays of a C type, else 0
	Size             int
	Creator          Participant
	Handle           Handle
}

// Info describes the segment as Stat does.
func (s *Segment) Info() Info {
	defer runtime.KeepAlive(s)
	h := s.header()
	in := Info{
		Name:    s.name,
		Size:    len(s.memory),
		Created: time.Unix(0, h.Created),
		Creator: Participant{Pid: int(h.CreatorPid), Since: time.Unix(0, h.Created), Alive: !s.Dead(h.Creator)},
	}
	if s.name != "" {
		if info, err := s.file.Stat(); err == nil {
			in.Mode = info.Mode().Perm()
		}
	}
	in.Used = heapAt
	s.blocks(func(off uint64, o *object, room uint64) bool {
		st := o.State.Load()
		if st&stateMask != stateFree {
			in.Used += objectHead + int(room)
		}
		if st&stateMask == stateLive {
			in.Objects++
		}
		return true
	})
	for _, p := range s.Participants() {
		if p.Alive {
			in.Living++
		} else {
			in.Dead++
		}
	}
	return in
}

// Participants lists the processes that have the segment mapped, the dead ones that nobody has tidied up
// included.
func (s *Segment) Participants() []Participant {
	defer runtime.KeepAlive(s)
	var ps []Participant
	for i := range min(s.header().SlotsUsed.Load(), slotCount) {
		if p, _, ok := s.participant(i); ok {
			ps = append(ps, p)
		}
	}
	return ps
}

// Participant describes the participant id (see Self). Of one whose place another has taken only that it is not alive.
func (s *Segment) Participant(id uint32) Participant {
	defer runtime.KeepAlive(s)
	p := Participant{Alive: !s.Dead(id)}
	sl := s.slot(id & slotMask)
	if since, who := sl.Since.Load(), sl.Who.Load(); uint32(who>>32) == id {
		p.Pid, p.Since = int(uint32(who)), time.Unix(0, since)
	}
	return p
}

// participant describes who has slot i, which was claimed once, if anybody has.
func (s *Segment) participant(i uint32) (p Participant, id uint32, ok bool) {
	w := s.slot(i).Word.Load()
	if st := slotState(w); st != slotLive && st != slotDead {
		return p, 0, false
	}
	id = ownerID(i, w)
	return s.Participant(id), id, true
}

// Objects iterates over the objects, in the order of their memory. It ends early at the first inconsistency.
func (s *Segment) Objects() iter.Seq[ObjectInfo] {
	return func(yield func(ObjectInfo) bool) {
		defer runtime.KeepAlive(s)
		s.blocks(func(off uint64, o *object, room uint64) bool {
			st := o.State.Load()
			if st&stateMask != stateLive {
				return true
			}
			size, name, typ, err := s.texts(off, o, room)
			return err == nil && yield(ObjectInfo{
				Name: string(name), Kind: kindName(o.Kind), Type: string(typ), Code: Code(o.Code), Size: int(size),
				Creator: Participant{Pid: int(o.CreatorPid), Since: time.Unix(0, o.Created), Alive: !s.Dead(o.Creator)},
				Handle:  Handle{s.uuid, off, generationOf(st)},
			})
		})
	}
}
