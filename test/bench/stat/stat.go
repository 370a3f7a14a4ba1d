// Package stat summarizes samples. It does not decide what is good enough.
package stat

import (
	"cmp"
	"math"
	"slices"
)

// Quantile returns the interpolated q-quantile of samples, or 0 if there are none. It sorts samples.
func Quantile[T ~int64 | ~float64](samples []T, q float64) T {
	if len(samples) == 0 {
		return 0
	}
	slices.SortFunc(samples, cmp.Compare[T])
	at := q * float64(len(samples)-1)
	i := int(at)
	if i+1 >= len(samples) {
		return samples[len(samples)-1]
	}
	return samples[i] + T((at-float64(i))*float64(samples[i+1]-samples[i]))
}

// Median returns the median of samples. It sorts them.
func Median[T ~int64 | ~float64](samples []T) T { return Quantile(samples, 0.5) }

// Interval returns bounds that contain the median of the samples' distribution with 95 % confidence. It uses the
// samples' ranks alone. It sorts samples.
func Interval(samples []float64) (low, high float64) {
	n := float64(len(samples))
	if n == 0 {
		return 0, 0
	}
	half := 0.98 / math.Sqrt(n) // 1.96 standard deviations of a binomial rank, as a fraction of n
	return Quantile(samples, max(0, 0.5-half)), Quantile(samples, min(1, 0.5+half))
}
