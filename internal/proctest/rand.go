package proctest

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// Rand gives random numbers to t. It logs their seed, and takes the one that SHOAL_SEED says, so that a failure
// can be looked for again. (What several processes do at once still differs from run to run.)
func Rand(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("SHOAL_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("SHOAL_SEED: %v", err)
		}
	}
	t.Logf("SHOAL_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
