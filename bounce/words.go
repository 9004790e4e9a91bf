package bounce

import (
	"strconv"
	"time"
)

// span is a duration in the largest unit that keeps it exact enough.
func (l *language) span(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		key  string
	}{{24 * time.Hour, "span.days"}, {time.Hour, "span.hours"}, {time.Minute, "span.minutes"}} {
		if n := (d + u.unit/10) / u.unit; n >= 2 {
			return l.say(u.key, "n", strconv.Itoa(int(n)))
		}
	}
	return l.say("span.minute")
}

// date is a time as people of that language write it, to the minute.
func (l *language) date(t time.Time) string {
	return l.say("date", "year", t.Format("2006"), "month", t.Format("01"), "day", t.Format("02"),
		"time", t.Format("15:04"), "zone", t.Format("-0700"))
}

// day is a date without the time.
func (l *language) day(t time.Time) string {
	return l.say("day", "year", t.Format("2006"), "month", t.Format("01"), "day", t.Format("02"))
}

// list names things in a sentence.
func (l *language) list(names []string) string {
	if len(names) == 0 {
		return ""
	}
	s, last := names[0], len(names)-1
	for i, n := range names[1:] {
		key := "list.more"
		if i+1 == last {
			key = "list.two"
		}
		s = l.say(key, "first", s, "last", n)
	}
	return s
}
