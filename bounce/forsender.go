package bounce

import (
	"cmp"
	"slices"

	"dawk/relay"
)

// ForSender is what whoever sent a message may hear of a reply: in notices,
// and in answers over HTTP. The words of servers it hears whole, and what we
// found out about its recipients' hosts. What concerns this relay alone, its
// login at a smart host and its own disk, is said without the words for the
// administrator: they name files, keys, accounts and tenants. The log,
// `dawk why` and `dawk oauth status` have them.
func ForSender(r relay.Reply) relay.Reply {
	switch {
	case r.Code != 0 || r.Positive():
	case r.Stage == relay.StageAuth:
		r.Text = "this relay cannot log in at " + cmp.Or(clean(r.MTA), "the server that its mail goes through") + "; its administrator sees to that"
	case r.Stage == relay.StageRoute && r.Status == relay.Status{Class: 4, Subject: 3} && !slices.Contains([]Category{Operator, Damaged}, Classify(r)):
		r.Text = "this relay has trouble of its own; its log tells its administrator more"
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
