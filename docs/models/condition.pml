/*
 * The waiters of a condition (package internal/condition): two goroutines of process 0 and one of process 1 wait once each,
 * process 2 notifies twice. Each wait may time out at any moment, or none does; one handle is closed at any moment while its
 * wait is on, or none is; one process is killed at any moment, or none, and that is known at any later one. When nothing more
 * happens each notification has ended one wait, or found nobody else to go to, and nobody sleeps who could have it; but not if
 * the holder of the lock has died, of which all are told.
 *
 * Run by docs/models/check: it must hold as it is. With FAULT, who gives up takes no notice of having been notified. With
 * FAULT_FORSAKE, who cannot have the lock any more does not return the notification that it knows of. With FAULT_GRANTED, it
 * returns none that it does not know of, though all waits of its process are notified. With FAULT_SLEEP, who sleeps does not
 * look for what was returned. Each loses a notification.
 */

#define PROCESS(g) ((g) / 2)                    /* goroutines 0 and 1, 2, and 4, which notifies */
#define OPEN(p) (all[p] - granted[p] - taken[p])
#ifdef FAULT_SLEEP
#define RETURNED(p) 0
#else
#define RETURNED(p) (returned[p] > 0)
#endif
#define PASSABLE(p) (returned[p] > 0 || known[p] && granted[p] + taken[p] > 0)
#define ORPHANS(p) (RETURNED(p) || known[p] && granted[p] + taken[p] > 0)
#define UNKNOWN(p) (granted[p] + taken[p] + returned[p])
#define GONE (dead[PROCESS(me)] || died || over)

byte lock;                                      /* 0, or 1 + the goroutine that holds it */
bool died;                                      /* its holder did */
bool dead[3], known[3];
byte all[2], granted[2], taken[2], returned[2]; /* the records of processes 0 and 1 */
byte line[3];                                   /* of process 0: 0, or 1 + who is first; then who stands behind */
byte issued, lost, received, asleep;            /* what is counted for the assertions alone */
hidden byte nothing;
bool mayTimeOut[3];
bool mayClose;
bool over;                                      /* nothing more happens, and all may end */

/* Who waits for the lock may find its handle closed, and goes on at closed. */
#define acquire(closed) \
	do \
	:: atomic { GONE -> goto gone } \
	:: atomic { !GONE && mayClose && PROCESS(me) < 2 -> mayClose = false; goto closed } \
	:: atomic { !GONE && lock == 0 -> lock = me + 1; break } \
	:: atomic { !GONE && lock != 0 && known[PROCESS(lock - 1)] -> lock = 0; died = true } \
	od

inline release() {
	if
	:: atomic { GONE -> goto gone }
	:: atomic { !GONE -> lock = 0 }
	fi
}

/* One wait that is open is notified, whichever, which found counts; none counts that there is none. */
inline notify(found, none) {
	if
	:: atomic { GONE -> goto gone }
	:: atomic { !GONE && OPEN(0) > 0 && !known[0] -> granted[0]++; found++ }
	:: atomic { !GONE && OPEN(1) > 0 && !known[1] -> granted[1]++; found++ }
	:: atomic { !GONE && (OPEN(0) == 0 || known[0]) && (OPEN(1) == 0 || known[1]) -> none++ }
	fi
}

/* The records of the dead are emptied, and what they were notified of, and what was returned, is passed on. */
inline drain(p) {
	if
	:: known[p] -> pass = granted[p] + taken[p] + returned[p]; all[p] = 0; granted[p] = 0; taken[p] = 0
	:: !known[p] -> pass = returned[p]
	fi;
	returned[p] = 0
}

inline tidy() {
	do
	:: atomic { GONE -> goto gone }
	:: atomic { !GONE && pass == 0 && PASSABLE(0) -> drain(0) }
	:: atomic { !GONE && pass == 0 && PASSABLE(1) -> drain(1) }
	:: pass > 0 -> pass--; notify(nothing, lost)
	:: atomic { !GONE && pass == 0 && !PASSABLE(0) && !PASSABLE(1) -> break }
	od
}

/* A place in line. Process 1 needs none. */
#define FIRST (PROCESS(me) == 1 || line[0] == me + 1)

inline leave() {
	if
	:: PROCESS(me) == 1
	:: PROCESS(me) == 0 && line[0] == me + 1 -> line[0] = line[1]; line[1] = 0
	:: PROCESS(me) == 0 && line[0] != me + 1 -> line[1] = 0
	fi
}

proctype waits(byte me) {
	byte pass;
	bool notified;

	acquire(gone);
	tidy();
	if
	:: atomic { GONE -> goto gone }
	:: atomic {
		!GONE -> all[PROCESS(me)]++;
		if
		:: PROCESS(me) == 1
		:: PROCESS(me) == 0 && line[0] == 0 -> line[0] = me + 1
		:: PROCESS(me) == 0 && line[0] != 0 -> line[1] = me + 1
		fi
	}
	fi;
	release();
	asleep++;
	do
	:: atomic { GONE -> asleep--; goto gone }
	:: atomic { !GONE && FIRST && granted[PROCESS(me)] > 0 ->
		granted[PROCESS(me)]--; taken[PROCESS(me)]++; notified = true; leave(); break }
	:: atomic { !GONE && FIRST && (ORPHANS(0) || ORPHANS(1)) -> asleep-- }
		acquire(closedInLine);
		tidy();
		release();
		asleep++
	:: atomic { !GONE && lock != 0 && known[PROCESS(lock - 1)] -> lock = 0; died = true }
	:: atomic { !GONE && mayTimeOut[me] -> mayTimeOut[me] = false; leave(); break }
	:: atomic { !GONE && mayClose -> mayClose = false; asleep--; leave(); goto closed }
	od;
	asleep--;
	acquire(closed);
	if
	:: atomic { GONE -> goto gone }
	:: atomic { !GONE && notified -> taken[PROCESS(me)]--; all[PROCESS(me)]--; received++ }
#ifndef FAULT
	:: atomic { !GONE && !notified && OPEN(PROCESS(me)) == 0 -> granted[PROCESS(me)]--; all[PROCESS(me)]--; received++ }
	:: atomic { !GONE && !notified && OPEN(PROCESS(me)) != 0 -> all[PROCESS(me)]-- }
#else
	:: atomic { !GONE && !notified -> all[PROCESS(me)]-- }
#endif
	fi;
	assert(died || all[PROCESS(me)] >= granted[PROCESS(me)] + taken[PROCESS(me)]);
	release();
	goto gone;

closedInLine:
	if
	:: atomic { GONE -> goto gone }
	:: atomic { !GONE -> leave() }
	fi;
closed: /* forsake */
	if
	:: atomic { GONE -> goto gone }
	:: atomic { !GONE && notified ->
		taken[PROCESS(me)]--; all[PROCESS(me)]--;
#ifndef FAULT_FORSAKE
		returned[PROCESS(me)]++
#endif
		}
#ifndef FAULT_GRANTED
	:: atomic { !GONE && !notified && OPEN(PROCESS(me)) == 0 ->
		granted[PROCESS(me)]--; all[PROCESS(me)]--; returned[PROCESS(me)]++ }
	:: atomic { !GONE && !notified && OPEN(PROCESS(me)) != 0 -> all[PROCESS(me)]-- }
#else
	:: atomic { !GONE && !notified -> all[PROCESS(me)]-- }
#endif
	fi;
	assert(died || all[PROCESS(me)] >= granted[PROCESS(me)] + taken[PROCESS(me)]);
gone:
	skip
}

proctype notifies(byte me) {
	byte pass, n;

	do
	:: n < 2 ->
		n++;
		acquire(gone);
		tidy();
		notify(issued, nothing);
		release()
	:: n == 2 -> break
	od;
gone:
	skip
}

/* Kills one process, or none, and makes that known. */
proctype kills() {
	byte p;
	if
	:: p = 0
	:: p = 1
	:: p = 2
	:: goto none
	fi;
	dead[p] = true;
	known[p] = true;
none:
	skip
}

init {
	atomic {
		if
		:: mayTimeOut[0] = true; mayTimeOut[1] = true; mayTimeOut[2] = true
		:: skip /* else each that sleeps in the end could time out, and nobody would be found who sleeps for too long */
		fi;
		if
		:: mayClose = true
		:: skip
		fi;
		run waits(0);
		run waits(1);
		run waits(2);
		run notifies(4);
		run kills()
	}
	timeout ->
	assert(died || lock != 0 || issued == received + lost + UNKNOWN(0) + UNKNOWN(1));
	assert(died || lock != 0 || asleep == 0 || UNKNOWN(0) + UNKNOWN(1) == 0);
	over = true
}
