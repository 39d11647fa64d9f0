/*
 * The waiters of a condition (package internal/condition): two goroutines of process 0 and one of process 1 wait once each,
 * process 2 notifies twice. Each wait may time out at any moment, one process is killed at any moment, and that is known at any
 * later one. When nothing more happens each notification has ended one wait, or found nobody else to go to; but not if the
 * holder of the lock has died, of which all are told.
 *
 * Verify it with
 *
 *	spin -run condition.pml            no errors
 *	spin -run -DFAULT condition.pml    who gives up takes no notice of having been notified: a notification is lost
 */

#define PROCESS(g) ((g) / 2)                    /* goroutines 0 and 1, 2, and 4, which notifies */
#define OPEN(p) (all[p] - granted[p] - taken[p])
#define ORPHANS(p) (known[p] && granted[p] + taken[p] > 0)
#define GONE (dead[PROCESS(me)] || died || over)

byte lock;                                      /* 0, or 1 + the goroutine that holds it */
bool died;                                      /* its holder did */
bool dead[3], known[3];
byte all[2], granted[2], taken[2];              /* the records of processes 0 and 1 */
byte line[3];                                   /* of process 0: 0, or 1 + who is first; then who stands behind */
byte issued, lost, received, asleep;            /* what is counted for the assertions alone */
hidden byte nothing;
bool mayTimeOut[3];
bool over;                                      /* nothing more happens, and all may end */

inline acquire() {
	do
	:: atomic { GONE -> goto gone }
	:: atomic { !GONE && lock == 0 -> lock = me + 1; break }
	:: atomic { !GONE && lock != 0 && known[PROCESS(lock - 1)] -> lock = 0; died = true }
	od
}

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

/* The records of the dead are emptied, and what they were notified of is passed on. */
inline tidy() {
	do
	:: atomic { GONE -> goto gone }
	:: atomic { !GONE && pass == 0 && ORPHANS(0) -> pass = granted[0] + taken[0]; all[0] = 0; granted[0] = 0; taken[0] = 0 }
	:: atomic { !GONE && pass == 0 && ORPHANS(1) -> pass = granted[1] + taken[1]; all[1] = 0; granted[1] = 0; taken[1] = 0 }
	:: pass > 0 -> pass--; notify(nothing, lost)
	:: atomic { !GONE && pass == 0 && !ORPHANS(0) && !ORPHANS(1) -> break }
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

	acquire();
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
		acquire();
		tidy();
		release();
		asleep++
	:: atomic { !GONE && lock != 0 && known[PROCESS(lock - 1)] -> lock = 0; died = true }
	:: atomic { !GONE && mayTimeOut[me] -> mayTimeOut[me] = false; leave(); break }
	od;
	asleep--;
	acquire();
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
gone:
	skip
}

proctype notifies(byte me) {
	byte pass, n;

	do
	:: n < 2 ->
		n++;
		acquire();
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
		mayTimeOut[0] = true;
		mayTimeOut[1] = true;
		mayTimeOut[2] = true;
		run waits(0);
		run waits(1);
		run waits(2);
		run notifies(4);
		run kills()
	}
	timeout ->
	assert(died || lock != 0 || issued == received + lost + granted[0] + taken[0] + granted[1] + taken[1]);
	assert(died || lock != 0 || asleep == 0 || granted[0] + taken[0] + granted[1] + taken[1] == 0);
	over = true
}
