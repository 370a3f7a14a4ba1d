package stat

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	if got := Quantile([]float64{4, 1, 3, 2}, 0.5); got != 2.5 {
		t.Errorf("median of 1..4: %v", got)
	}
	if got := Quantile([]float64{3, 1, 2}, 1); got != 3 {
		t.Errorf("maximum: %v", got)
	}
	if got := Median([]time.Duration{3 * time.Second, time.Second, 2 * time.Second}); got != 2*time.Second {
		t.Errorf("median of durations: %v", got)
	}
	if got := Median([]float64(nil)); got != 0 {
		t.Errorf("median of nothing: %v", got)
	}
}

// For many samples of a known distribution, about 95 % of the intervals contain its median.
func TestIntervalHoldsTheMedian(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	held := 0
	const tries = 1000
	for range tries {
		s := make([]float64, 100)
		for i := range s {
			s[i] = math.Exp(rng.NormFloat64()) // median 1
		}
		if low, high := Interval(s); low <= 1 && 1 <= high {
			held++
		}
	}
	if held < 920 || held > 985 {
		t.Errorf("%d of %d intervals contain the median", held, tries)
	}
}
