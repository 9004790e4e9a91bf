package delivery

import (
	"slices"
	"sync"

	"dawk/relay"
)

// Bounds of the transcripts in memory: enough for what an operator looks at, and little beside the
// schedule.
const (
	maxTranscripts     = 1000
	maxTranscriptsSize = 1 << 20 // octets of text
)

// transcripts are those of the last attempts that did not relay all they had to, the newest last,
// at most one of each Delivery.
type transcripts struct {
	mu   sync.Mutex
	all  []transcript
	size int // octets of their text
}

type transcript struct {
	id   relay.QueueID
	size int
	relay.Transcript
}

// keep replaces what is there of the Delivery.
func (t *transcripts) keep(id relay.QueueID, one relay.Transcript) {
	size := 0
	for _, l := range one.Lines {
		size += len(l.Text)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.IndexFunc(t.all, func(o transcript) bool { return o.id == id && o.Job == one.Job }); i >= 0 {
		t.drop(i)
	}
	t.all = append(t.all, transcript{id, size, one})
	for t.size += size; len(t.all) > maxTranscripts || t.size > maxTranscriptsSize; {
		t.drop(0)
	}
}

func (t *transcripts) drop(i int) {
	t.size -= t.all[i].size
	t.all = slices.Delete(t.all, i, i+1)
}

// Transcripts are what was said in the last attempt that failed of each Delivery of a message, also
// of those that have ended, as long as it is in memory.
func (d *Dispatcher) Transcripts(id relay.QueueID) (all []relay.Transcript) {
	d.transcripts.mu.Lock()
	defer d.transcripts.mu.Unlock()
	for _, t := range d.transcripts.all {
		if t.id == id {
			all = append(all, t.Transcript)
		}
	}
	return all
}

// keepTranscript keeps what was said in an attempt, if the transport gives it.
func (d *Dispatcher) keepTranscript(c *relay.Claim, r relay.Result) {
	if t := r.Transcript; len(t.Lines) > 0 {
		t.Job, t.Attempt = c.Delivery.Job, c.Delivery.Attempts+1
		d.transcripts.keep(c.Message.ID, t)
	}
}
