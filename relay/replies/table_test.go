package replies

import (
	"slices"
	"strings"
	"testing"

	"dawk/relay"
)

// Every line can be read, says what follows and who says so, and has no word
// that can never be found.
func TestTable(t *testing.T) {
	rules, err := parse(tableText)
	if err != nil {
		t.Fatal(err)
	}
	causes := []relay.Cause{"", relay.CauseLogin, relay.CauseThrottle, relay.CauseSender, CauseSplit, CauseReconnect}
	stages := []relay.Stage{relay.StageGreeting, relay.StageEHLO, relay.StageAuth, relay.StageMail, relay.StageRcpt, relay.StageData, relay.StageBody}
	for _, u := range rules {
		known := !slices.ContainsFunc(u.stages, func(s string) bool { return !slices.Contains(stages, relay.Stage(s)) })
		switch {
		case u.Source == "", !known, !slices.Contains(causes, u.Cause),
			u.Category == "" && u.Cause != relay.CauseSender, u.Category != "" && !slices.Contains(Categories(), u.Category),
			(u.provider == "" || u.provider == except) != (u.Cause == "" || u.Cause == CauseSplit || u.Cause == CauseReconnect),
			u.stages == nil && u.codes == nil && u.statuses == nil && u.words == nil:
			t.Errorf("%+v", u)
		}
		for _, w := range slices.Concat(u.words, u.not) {
			if w == "" || w != strings.ToLower(strings.TrimSpace(w)) {
				t.Errorf("%q in %+v", w, u)
			}
		}
	}
}

func TestFaultsOfATable(t *testing.T) {
	for _, line := range []string{"too few\tcolumns", "-\t-\t5x\t-\t-\t-\tspam\t-\t-\t-\tx", "-\t-\t-\t5.7\t-\t-\tspam\t-\t-\t-\tx", "-\t-\t-\t-\tx\t-\tspam\t-\tsoon\t-\tx"} {
		if _, err := parse("# a comment\n" + line); err == nil || !strings.HasPrefix(err.Error(), "table.tsv:2: ") {
			t.Errorf("%q: %v", line, err)
		}
	}
}
