package past

import (
	"errors"

	"dawk/bounce"
	"dawk/relay"
	"dawk/relay/httpapi"
)

// MessageStatus is what became of a message, from the queue and the history. held says
// whether somebody works on one of its Deliveries. The error is relay.ErrNotFound where
// nobody knows the message.
func MessageStatus(q interface {
	Item(relay.QueueID) (*relay.Item, error)
}, h *History, id relay.QueueID, held func() bool) (*httpapi.Status, error) {
	past, ended := h.Get(id)
	item, err := q.Item(id)
	if errors.Is(err, relay.ErrNotFound) {
		past, ended = h.Left(id, held)
	}
	switch {
	case errors.Is(err, relay.ErrNotFound) && !ended:
		return nil, relay.ErrNotFound
	case err != nil && !errors.Is(err, relay.ErrNotFound):
		return nil, err
	}
	st := &httpapi.Status{ID: id, Identity: past.Identity, Arrival: past.Arrival, More: past.MoreEnded, Recipients: []httpapi.RecipientStatus{}}
	for _, e := range past.Ended {
		st.Recipients = append(st.Recipients, httpapi.RecipientStatus{Recipient: e.Recipient, State: string(e.Action), Attempts: e.Attempt, Reply: replyText(e.Reply), At: e.At})
	}
	if err != nil {
		return st, nil
	}
	st.Identity, st.Arrival = item.Message.Identity, item.Message.Arrival
	for _, d := range item.Deliveries {
		state := "queued"
		if d.Held {
			state = "held"
		}
		for _, o := range d.Open {
			st.Recipients = append(st.Recipients, httpapi.RecipientStatus{Recipient: item.Message.Recipients[o.Recipient].Path, State: state,
				Attempts: int(d.Attempts), Reply: replyText(o.Last), Next: d.Due})
		}
	}
	return st, nil
}

// replyText is what a notice would tell the sender, and no more.
func replyText(r relay.Reply) string {
	if r.IsZero() {
		return ""
	}
	return bounce.ForSender(r).String()
}
