#include "textflag.h"

// func casPair(p *Pair, oldA, oldB, a, b uint64) (swapped bool)
TEXT ·casPair(SB), NOSPLIT, $0-41
	MOVQ p+0(FP), DI
	MOVQ oldA+8(FP), AX
	MOVQ oldB+16(FP), DX
	MOVQ a+24(FP), BX
	MOVQ b+32(FP), CX
	LOCK
	CMPXCHG16B (DI)
	SETEQ swapped+40(FP)
	RET

// func hasPair() bool
TEXT ·hasPair(SB), NOSPLIT, $0-1
	MOVL $1, AX
	XORL CX, CX
	CPUID
	SHRL $13, CX // CX16
	ANDL $1, CX
	MOVB CX, ret+0(FP)
	RET
