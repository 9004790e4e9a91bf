package bounce

import (
	"cmp"
	"slices"

	"dawk/relay"
)

// ForSender is the part of a reply that the sender of a message may see, in notices and in answers
// over HTTP. The sender gets the full text of servers, and our findings about the recipients'
// hosts. A fault of this relay is described by its cause only, since its text names files, keys,
// accounts and tenants. The remedy is left out. The log, `dawk why` and `dawk oauth status` show
// both.
func ForSender(r relay.Reply) relay.Reply {
	r.Remedy = ""
	if r.Code != 0 {
		return r
	}
	switch r.Cause {
	case relay.CauseLogin:
		r.Text = "this relay cannot log in at " + cmp.Or(clean(r.MTA), "the server that its mail goes through") + "; its administrator sees to that"
	case relay.CauseLocal:
		r.Text = "this relay has trouble of its own; its log tells its administrator more"
	case relay.CauseBudget:
		r.Text = "this relay waits until it may send more to " + cmp.Or(clean(r.MTA), "the server that takes this mail")
	}
	return r
}

func outcomesForSender(all []relay.Outcome) []relay.Outcome {
	all = slices.Clone(all)
	for i := range all {
		all[i].Reply = ForSender(all[i].Reply)
	}
	return all
}
