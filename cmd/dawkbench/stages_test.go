package main

import (
	"strings"
	"testing"
)

// A sample belongs to the innermost frame that is known: a system call to the
// step that makes it, a map to the step that looks into it.
func TestSamplesAreSortedIntoStages(t *testing.T) {
	counts, all, err := tally(strings.NewReader(`	ffffffff821ef691 do_syscall_64
	           cd2a5 syscall.Fdatasync
	          4fe41c go.etcd.io/bbolt.fdatasync
	          544dd4 dawk/queue.(*writer).transact
	           8fd41 runtime.goexit.abi0

	          1 runtime.mapaccess1
	          2 dawk/relay/delivery.(*settler).settle
	          3 dawk/relay/delivery.(*Dispatcher).worker

	          1 runtime.gcAssistAlloc
	          2 dawk/mx.(*conn).transact

	          1 something.Unknown
`))
	if err != nil || all != 4 {
		t.Fatalf("%d samples, %v; want 4", all, err)
	}
	want := map[string]int{"commit, of the message and of its outcome": 1, "settle": 1, "garbage collection": 1}
	for i, s := range stages {
		if counts[i] != want[s.name] {
			t.Errorf("%s: %d samples, want %d", s.name, counts[i], want[s.name])
		}
	}
	if counts[len(stages)] != 1 {
		t.Errorf("%d samples are of nobody, want 1", counts[len(stages)])
	}
}
