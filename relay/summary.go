package relay

import (
	"cmp"
	"strings"
)

// Summary is the verdict when no host judged: the last failure, unless only an
// earlier one leaves hope or it was no more than a refused connection, with the
// others named.
func Summary(failures []Reply) Reply {
	if len(failures) == 0 {
		return Failure(StageConnect, Status{Class: 4, Subject: 4, Detail: 1}, "no host was tried, or the attempt was stopped")
	}
	best := failures[len(failures)-1]
	for _, f := range failures {
		if best.Permanent() && (!f.Permanent() || f.Enhanced().Detail == 6) {
			best = f
		}
	}
	for i := len(failures) - 1; best.Refused && i >= 0; i-- {
		if f := failures[i]; !f.Refused && f.Stage != StageRoute && f.Stage != StageDNS && f.Permanent() == best.Permanent() {
			best = f
		}
	}
	if len(failures) == 1 {
		best.Refused = false
		return best
	}
	texts, said := []string{best.Text}, best
	var fixes []string
	if best.Text == "" {
		texts[0] = best.MTA + " refused"
	}
	for _, f := range failures {
		if f == said {
			continue
		}
		who := ""
		if f.MTA != "" {
			who = f.MTA + ": "
		}
		if f.Own() && !best.Own() { // the administrator's alone
			fixes = append(fixes, who+f.Advised())
			continue
		}
		texts = append(texts, who+f.String())
		best.Remedy = cmp.Or(best.Remedy, f.Remedy)
	}
	best.Text = Sanitize(strings.Join(texts, "; also "))
	if best.Remedy != "" {
		fixes = append(fixes, best.Remedy)
	}
	best.Remedy, best.Refused = Sanitize(strings.Join(fixes, "; also ")), false
	return best
}
