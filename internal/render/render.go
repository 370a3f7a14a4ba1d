// Package render holds what every renderer tells of its work. The renderers are its subpackages, one a
// backend; each takes the same rule program, so that no policy decision is made twice.
package render

// Stats says what one call of a renderer wrote.
type Stats struct {
	// Ops is the number of operations that were committed, elements not counted; 0 means that the kernel had
	// everything already.
	Ops int
	// Elements is how many set and map elements were added or deleted.
	Elements int
	// Full says that a whole new table took the place of what was there.
	Full bool
	// Left says why something of ours that no longer decides over any packet could not be removed; nil if there is
	// no such thing. The program is enforced all the same, and the next full comparison tries again.
	Left error
}

// Counts says how many objects of one IP family are installed.
type Counts struct {
	Rules    int `json:"rules"`
	Chains   int `json:"chains"`
	Sets     int `json:"sets"`
	Elements int `json:"elements"`
}
