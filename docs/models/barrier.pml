/*
 * The protocol of package internal/barrier: a barrier for two parties, and three processes that have it from their start.
 * One does two things and each other one, of coming, aborting and resetting, and then closes its handle; there is one abort, reset or
 * end of a context, and one process is killed anywhere.
 * Run by docs/models/check: it must hold as it is; with FAULT, in which who takes a cell does not see that the pass may be
 * over, so that the cell may be one of the next pass, spin must find that.
 *
 * A step is one access to the word or to a cell. What must hold:
 *
 *   - All parties of a pass are told the same, whoever was told first.
 *   - A pass is completed when both cells are taken, and each index is told once; not if somebody bound to it was dead
 *     when the last came.
 *   - A death is forgotten only by a reset of a pass that it broke, or that was broken when it happened.
 *   - In the end nobody sleeps whose pass is over or broken, or has lost somebody.
 *
 * A sleep ends by the cap only where a process was killed between a change and its wake: else a lost wake would not be
 * noticed here.
 */
#define PROCS   3
#define PARTIES 2
#define PASSES  8       /* more than there can be */
#define NOBODY  7

/* The word. */
byte pass;
bool broken, sleeps, reset[PASSES];

/* The cells; those of members by process. */
byte cellPass[PARTIES], cellOwner[PARTIES] = NOBODY;
bool member[PROCS] = true;

/* The kernel. */
bool dead[PROCS], asleep[PROCS], capped;

/* What was seen, which no step asks for. */
bool done[PASSES], failed[PASSES]; /* what the parties of a pass were told */
byte came[PASSES], told[PASSES];   /* cells taken; a bit for each index told */
bool owed[PROCS];                  /* who died bound to the pass, which has not broken since */
byte sleptOn[PROCS];               /* the pass */

/* What happens rarely. */
byte kills = 1, endings = 1;

#define here(i, p)  (cellOwner[i] != NOBODY && cellPass[i] == p)
#define gone(i, p)  (here(i, p) && dead[cellOwner[i]])
#define lost(p)     (member[0] && dead[0] || member[1] && dead[1] || member[2] && dead[2] || gone(0, p) || gone(1, p))

/* Ends a change of the word: wakes all, if somebody slept. */
inline wakeAll() {
	if
	:: wake -> d_step { asleep[0] = false; asleep[1] = false; asleep[2] = false; wake = false }
	:: else
	fi
}

inline spoil(p) {
	d_step {
		if
		:: pass == p && !broken ->
			broken = true; wake = sleeps; sleeps = false;
			owed[0] = false; owed[1] = false; owed[2] = false
		:: else
		fi
	}
	wakeAll()
}

/* The party with index i is told how pass p ended. */
inline tell(ok) {
	d_step {
		if
		:: ok ->
			done[p] = true;
			assert(came[p] == PARTIES && !(told[p] & (1 << i)));
			told[p] = told[p] | (1 << i)
		:: else -> failed[p] = true
		fi;
		assert(!(done[p] && failed[p]))
	}
}

proctype Party(byte self, ops) {
	byte p, i, owner, was;
	bool wake, ok, extra, bury[PROCS];
	bool died;	/* when the last came, somebody bound was dead; it is recorded only */

	{ skip;
	next:
		atomic {
			p = 0; i = 0; ok = false; extra = false;
			if
			:: ops > 0 -> ops--; goto arrive
			:: ops > 0 && endings > 0 -> ops--; endings--; p = pass /* Abort */
			:: ops > 0 && endings > 0 -> ops--; endings--; p = pass; goto renew
			:: ops == 0 -> goto close
			fi
		}
		spoil(p);
		goto next;

	renew:	/* Reset: breaks the pass, forgets the dead, and begins another */
		spoil(p);
		if
		:: pass == p && broken
		:: pass != p -> p = pass; goto renew
		fi;
		d_step {
			bury[0] = member[0] && dead[0];
			bury[1] = member[1] && dead[1];
			bury[2] = member[2] && dead[2]
		}
		if
		:: !(pass == p && broken) -> goto renewed
		:: else
		fi;
		d_step {
			assert(!(bury[0] && owed[0] || bury[1] && owed[1] || bury[2] && owed[2]));
			member[0] = member[0] && !bury[0];
			member[1] = member[1] && !bury[1];
			member[2] = member[2] && !bury[2]
		}
		d_step {
			if
			:: pass == p && broken -> reset[p] = true; pass++; broken = false
			:: else
			fi
		}
	renewed:
		atomic { bury[0] = false; bury[1] = false; bury[2] = false }
		goto next;

	arrive:
		atomic {
			p = pass; i = 0; extra = false;
			if
			:: broken -> goto next
			:: else
			fi
		}
	cell:
		atomic {
			if
			:: i < PARTIES -> owner = cellOwner[i]; was = cellPass[i]
			:: else -> extra = true; owner = 0; was = 0; goto await
			fi;
			if
			:: owner != NOBODY && was == p -> i++; goto cell
			:: else
			fi
		}
#ifndef FAULT
		if
		:: pass == p
		:: pass != p -> owner = 0; was = 0; goto arrive
		fi;
#endif
		atomic {
			if
			:: cellOwner[i] == owner && cellPass[i] == was -> cellOwner[i] = self; cellPass[i] = p; came[p]++
			:: else -> goto cell
			fi;
			owner = 0; was = 0;
			if
			:: i < PARTIES - 1 -> goto await
			:: else -> died = owed[0] || owed[1] || owed[2]
			fi
		}

		/* The last asks for the dead, runs the action, and completes the pass. */
		if
		:: lost(p) -> spoil(p)
		:: else
		fi;
		d_step {
			if
			:: pass == p && !broken -> assert(!died); ok = true; pass++; wake = sleeps; sleeps = false
			:: else -> ok = false
			fi;
			died = false
		}
		wakeAll();
		tell(ok);
		goto next;

	await:
		atomic {
			if
			:: pass == p && !broken -> goto doze
			:: pass == p && broken -> ok = false
			:: pass != p -> ok = !reset[p]
			fi;
			if
			:: extra && ok -> goto arrive
			:: extra && !ok -> goto next
			:: else
			fi
		}
		tell(ok);
		goto next;

	doze:
		if
		:: lost(p) -> spoil(p); goto await
		:: else
		fi;
		d_step {
			if
			:: pass == p && !broken -> sleeps = true
			:: else
			fi
		}
		atomic { /* the kernel compares the word */
			if
			:: pass == p && !broken && sleeps -> asleep[self] = true; sleptOn[self] = p
			:: else -> goto await
			fi
		}
	end:	/* nobody may ever come */
		if
		:: !asleep[self]
		:: capped -> asleep[self] = false
		:: lost(p) -> asleep[self] = false
		:: endings > 0 -> atomic { endings--; asleep[self] = false }; spoil(p)
		fi;
		goto await;

	close:
		member[self] = false
	} unless {
		atomic {
			dead[self] -> asleep[self] = false; capped = capped || wake;
			p = 0; i = 0; owner = 0; was = 0; ops = 0; wake = false; ok = false; extra = false; died = false;
			bury[0] = false; bury[1] = false; bury[2] = false
		}
	}
}

#define kill(v)	atomic { kills > 0 -> kills--; dead[v] = true; owed[v] = member[v] && !broken }

init {
	atomic { run Party(0, 2); run Party(1, 1); run Party(2, 1) }
	do
	:: kill(0)
	:: kill(1)
	:: kill(2)
	:: timeout -> break
	od;
	assert(!asleep[0] || pass == sleptOn[0] && !broken && !lost(pass));
	assert(!asleep[1] || pass == sleptOn[1] && !broken && !lost(pass));
	assert(!asleep[2] || pass == sleptOn[2] && !broken && !lost(pass))
}
