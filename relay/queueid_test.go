package relay_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"dawk/relay"
)

func TestQueueIDSortsAsItsKeyAndComesBack(t *testing.T) {
	var ids []relay.QueueID
	for range 1000 {
		ids = append(ids, relay.QueueID{Key: 1 + rand.Uint64N(1<<55-1), Dir: rand.Uint32N(1 << 20)})
	}
	slices.SortFunc(ids, func(a, b relay.QueueID) int { return strings.Compare(a.String(), b.String()) })
	for i, id := range ids {
		if back, err := relay.ParseQueueID(strings.ToLower(id.String())); err != nil || back != id {
			t.Fatalf("%v came back as %v, %v", id, back, err)
		}
		if i > 0 && ids[i-1].Key > id.Key {
			t.Fatalf("%v sorts before %v", ids[i-1], id)
		}
	}
}

func TestQueueIDReadsWhatPeopleWrite(t *testing.T) {
	want := relay.QueueID{Key: uint64(time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC).UnixMicro()), Dir: 0x10801}
	typed := strings.NewReplacer("0", "o", "1", "l").Replace(want.String())
	if got, err := relay.ParseQueueID(typed); err != nil || got != want {
		t.Errorf("%q gives %v, %v; want %v", typed, got, err, want)
	}
	for _, bad := range []string{"", "x", "1RK3ZC8Q9D4", "1RK3ZC8Q9D4-7ABU", "1RK3ZC8Q9D4_7ABC", "00000000000-0000", "1RK3ZC8Q9D4-7ABC1"} {
		if _, err := relay.ParseQueueID(bad); err == nil {
			t.Errorf("%q was taken for a queue ID", bad)
		}
	}
}
