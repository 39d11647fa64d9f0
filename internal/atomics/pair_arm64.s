#include "textflag.h"

// func casPair(p *Pair, oldA, oldB, a, b uint64) (swapped bool)
//
// LDAXP alone need not read both words at once; that the STLXP succeeds says that it did.
TEXT ·casPair(SB), NOSPLIT, $0-41
	MOVD p+0(FP), R0
	MOVD oldA+8(FP), R1
	MOVD oldB+16(FP), R2
	MOVD a+24(FP), R3
	MOVD b+32(FP), R4
again:
	LDAXP (R0), (R5, R6)
	CMP  R1, R5
	BNE  differ
	CMP  R2, R6
	BNE  differ
	STLXP (R3, R4), (R0), R7
	CBNZ R7, again
	MOVD $1, R5
	MOVB R5, swapped+40(FP)
	RET
differ:
	CLREX
	MOVB ZR, swapped+40(FP)
	RET

// func hasPair() bool
TEXT ·hasPair(SB), NOSPLIT, $0-1
	MOVD $1, R0
	MOVB R0, ret+0(FP)
	RET
