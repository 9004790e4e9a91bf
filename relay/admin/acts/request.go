package acts

import (
	"dawk/relay"
	"dawk/relay/filter"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Request is the body of POST /v1/queue/act.
type Request struct {
	Verb   relay.Verb `json:"verb"`
	Filter string     `json:"filter"`
	All    bool       `json:"all"` // an empty filter is meant
	DryRun bool       `json:"dry_run"`
	Purge  bool       `json:"purge,omitempty"`  // of delete: nothing is kept for undo
	Bundle string     `json:"bundle,omitempty"` // of confirm: the name in the file of the export
	Act    string     `json:"act,omitempty"`    // of undo, whose Filter is empty: which; "": the last that can be undone
	Route  string     `json:"route,omitempty"`  // of reroute: the name of one with a smart host, or "mx"
	Now    bool       `json:"now,omitempty"`    // of retry: attempts under way are cut, before their final dot
}

// check reads the filter.
func (req Request) check() (filter.Of[filter.Queued], error) {
	picks, err := filter.Queue.Parse(req.Filter, time.Now())
	switch {
	case !slices.Contains(relay.Verbs(), req.Verb) && req.Verb != relay.VerbReroute:
		return picks, fmt.Errorf("there is no verb %.20q", string(req.Verb))
	case err != nil:
		return picks, err
	case req.Purge && req.Verb != relay.VerbDelete:
		return picks, fmt.Errorf("purge is for delete, not for %s", req.Verb)
	case req.Now && req.Verb != relay.VerbRetry:
		return picks, fmt.Errorf("now is for retry, not for %s", req.Verb)
	case req.Route != "" && req.Verb != relay.VerbReroute:
		return picks, fmt.Errorf("a route is for reroute, not for %s", req.Verb)
	case picks.Empty() && !req.All:
		return picks, fmt.Errorf("%s needs to know which messages: give a queue ID or a filter such as to=@example.com, or --all for the whole queue", req.Verb)
	case !picks.Empty() && req.All:
		return picks, fmt.Errorf("--all means the whole queue and does not go with a filter: leave out one of them")
	}
	return picks, nil
}

// what is the filter and what else the audit log should say.
func (req Request) what(f filter.Of[filter.Queued]) string {
	if req.Route == "" {
		return f.String()
	}
	return strings.TrimSpace(f.String() + " to route " + req.Route)
}

// checkRoute says whether mail can be sent by a route.
func (a *Actor) checkRoute(name string) error {
	names := []string{relay.RouteMX}
	if a.Routes != nil {
		names = append(names, a.Routes()...)
	}
	switch {
	case name == "":
		return fmt.Errorf("reroute needs to know the route: %s", strings.Join(names, ", "))
	case !slices.Contains(names, name):
		return fmt.Errorf("there is no route %s with a smart host; there are %s", relay.Sanitize(relay.Clip(name)), strings.Join(names, ", "))
	}
	return nil
}
