package relay

import (
	"fmt"
	"slices"
)

// Priority is which mail gets its turn first when more is ready than may be
// attempted at once. The zero value is PriorityNormal.
type Priority uint8

// The priorities.
const (
	PriorityNormal Priority = iota
	PriorityHigh            // goes before other mail, in at most half of the slots while other mail waits
	PriorityBulk            // goes after other mail; it always gets a slot in eight
	Priorities              // how many there are
)

var priorityNames = [Priorities]string{PriorityNormal: "normal", PriorityHigh: "high", PriorityBulk: "bulk"}

func (p Priority) String() string { return priorityNames[p] }

// ParsePriority reads the form of String; "" is PriorityNormal.
func ParsePriority(s string) (Priority, error) {
	if i := slices.Index(priorityNames[:], s); i >= 0 {
		return Priority(i), nil
	}
	if s == "" {
		return PriorityNormal, nil
	}
	return PriorityNormal, fmt.Errorf(`%q is not a priority: write "high", "normal" or "bulk"`, Clip(s))
}
