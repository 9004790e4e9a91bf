package pages

import (
	"bytes"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/admin"
	"dawk/relay/filter"
)

// functions are what templates may call.
var functions = template.FuncMap{
	"ago": func(t time.Time) string {
		if t.IsZero() {
			return "never"
		}
		return relay.Duration(max(0, time.Since(t)).Round(time.Second)).String() + " ago"
	},
	"in":    func(t time.Time) string { return relay.Duration(max(0, time.Until(t)).Round(time.Second)).String() },
	"clock": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"day":   func(t time.Time) string { return t.UTC().Format(time.DateOnly) },
	"stamp": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"line":  sparkline,
	"args":  func(all ...any) []any { return all },
	"sum": func(list []int) (n int) {
		for _, v := range list {
			n += v
		}
		return n
	},
	"last": func(list []int) int {
		if len(list) == 0 {
			return 0
		}
		return list[len(list)-1]
	},
	"route": func(name string) string { return strings.TrimPrefix(name, "route:") },
	"size":  size,
	"join":  func(list []string) string { return strings.Join(list, " ") },
}

// size is a number of octets for people.
func size(n int64) string {
	v, unit := float64(n), 0
	for ; v >= 1024 && unit < 4; unit++ {
		v /= 1024
	}
	return fmt.Sprintf("%.3g %s", v, [...]string{"octets", "KiB", "MiB", "GiB", "TiB"}[unit])
}

// sparkline is the line of a drawing 120 wide and 28 high.
func sparkline(values []int) string {
	var b strings.Builder
	most := max(1, slices.Max(append([]int{0}, values...)))
	for i, v := range values {
		fmt.Fprintf(&b, "%.1f,%.1f ", float64(i)*120/float64(max(1, len(values)-1)), 27-26*float64(v)/float64(most))
	}
	return b.String()
}

type overviewData struct {
	Status admin.Status
	Rates  admin.Rates
	Live   bool // the fragment alone
}

func (p *page) overviewData() (d overviewData, err error) {
	if err = p.get("/v1/status", nil, &d.Status); err == nil {
		_, err = offered(p.get("/v1/rates", nil, &d.Rates))
	}
	return d, err
}

func (p *page) overview() error {
	d, err := p.overviewData()
	if err != nil {
		return err
	}
	return p.show("overview.html", "Overview", d)
}

// livePause is how long the live overview rests between two looks.
const livePause = 2 * time.Second

// live sends the middle of the overview again and again, as server-sent events: the
// script of the page puts it in its place. It ends with the session,
// which it does not keep from being idle.
func (p *page) live() error {
	control := http.NewResponseController(p.w)
	_ = control.SetWriteDeadline(time.Time{})
	p.w.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(livePause)
	defer tick.Stop()
	for p.door.Lasts(p.r) {
		d, err := p.overviewData()
		if err != nil {
			return nil // the browser asks again
		}
		var b bytes.Buffer
		if err := p.templates.ExecuteTemplate(&b, "live", view{Session: p.session, Data: d}); err != nil {
			return nil
		}
		for line := range strings.Lines(b.String()) {
			fmt.Fprintf(p.w, "data: %s\n", strings.TrimRight(line, "\r\n"))
		}
		fmt.Fprint(p.w, "\n")
		if control.Flush() != nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.r.Context().Done():
			return nil
		}
	}
	return nil
}

type queueData struct {
	Filter, Fault, Done string
	Back                string // this page
	List                admin.List
	Verbs               []relay.Verb
	Routes              []string // that mail can be sent by
	Help                string
	After, Next         string // "": the first page; the last
}

// listed is how many deliveries a page of the queue shows.
const listed = "200"

func (p *page) queue() error {
	d := queueData{Filter: strings.TrimSpace(p.r.FormValue("filter")), Done: p.r.FormValue("done"), Verbs: relay.Verbs(), Help: filter.Queue.Help()}
	d.Back = "/queue?" + url.Values{"filter": {d.Filter}}.Encode()
	var err error
	if d.Routes, err = p.routes(); err != nil {
		return err
	}
	if d.After = p.r.FormValue("after"); d.After != "" {
		d.Back += "&" + url.Values{"after": {d.After}}.Encode()
	}
	err = p.get("/v1/queue", url.Values{"filter": {d.Filter}, "limit": {listed}, "after": {d.After}}, &d.List)
	if n := len(d.List.Items); n > 0 && d.List.End.More {
		d.Next = "/queue?" + url.Values{"filter": {d.Filter}, "after": {d.List.Items[n-1].Message.ID.String()}}.Encode()
	}
	if bad, ok := err.(*problem); ok && bad.Status == http.StatusBadRequest {
		d.Fault, err = bad.Detail, nil
	}
	if err != nil {
		return err
	}
	return p.show("queue.html", "Queue", d)
}

// routes are those that an operator may send mail by.
func (p *page) routes() ([]string, error) {
	var s admin.Status
	all := []string{relay.RouteMX}
	err := p.get("/v1/status", nil, &s)
	for _, provider := range s.Providers {
		if name, ok := strings.CutPrefix(provider.Name, "route:"); ok {
			all = append(all, name)
		}
	}
	return all, err
}

type askData struct {
	Verb         relay.Verb
	Route        string
	Filter, Back string
	All          bool
	List         admin.List
}

// act does a verb to what was selected, or to all that the filter picks. What ends
// mail, and what concerns all, asks first, with the counts of a dry run.
func (p *page) act() error {
	q := admin.ActRequest{Verb: relay.Verb(p.r.PostFormValue("verb")), Filter: strings.Join(p.r.PostForm["id"], " ")}
	if p.r.PostFormValue("what") == "filter" {
		q.Filter = strings.TrimSpace(p.r.PostFormValue("filter"))
		q.All = q.Filter == ""
	} else if q.Filter == "" {
		return &problem{admin.Problem{Status: http.StatusBadRequest, Detail: "Nothing is selected: go back and select messages, or choose all that the filter picks."}}
	}
	if q.Verb == relay.VerbReroute {
		q.Route = p.r.PostFormValue("route")
	}
	ends := q.Verb == relay.VerbDelete || q.Verb == relay.VerbBounce
	q.DryRun = (ends || p.r.PostFormValue("what") == "filter") && p.r.PostFormValue("sure") == ""
	var list admin.List
	if _, err := p.ask(http.MethodPost, "/v1/queue/act", nil, q, &list); err != nil {
		return err
	}
	back := p.r.PostFormValue("back")
	if !strings.HasPrefix(back, "/queue") && !strings.HasPrefix(back, "/message/") {
		back = "/queue"
	}
	nothing := list.End.Deliveries+list.End.Skipped+list.End.Gone+list.End.Failed == 0 // the page was stale
	if q.DryRun && !nothing {
		return p.show("ask.html", "Are you sure?", askData{Verb: q.Verb, Route: q.Route, Filter: q.Filter, All: q.All, Back: back, List: list})
	}
	done := fmt.Sprintf("%s: done for %d deliveries", q.Verb, list.End.Deliveries)
	if n := list.End.Skipped + list.End.Gone; n > 0 {
		done += fmt.Sprintf(", %d passed over", n)
	}
	if list.End.Pending > 0 {
		done += fmt.Sprintf(", %d of them when the attempt under way ends", list.End.Pending)
	}
	if list.End.Failed > 0 {
		done += fmt.Sprintf(", %d failed", list.End.Failed)
	}
	if nothing {
		done = "Nothing was done: it is not in the queue any more. Its page and the history say what became of it."
	}
	at, err := url.Parse(back)
	if err != nil {
		return err
	}
	query := at.Query()
	query.Set("done", done)
	at.RawQuery = query.Encode()
	http.Redirect(p.w, p.r, at.RequestURI(), http.StatusSeeOther)
	return nil
}

type messageData struct {
	Why     admin.Why
	Headers string // "": the message has left
	Body    string
	Done    string
	Verbs   []relay.Verb
	Routes  []string
}

// shownBody bounds what a page shows of a message, in octets.
const shownBody = 256 << 10

func (p *page) messageData() (d messageData, err error) {
	id := url.PathEscape(p.r.PathValue("id"))
	d.Done, d.Verbs = p.r.FormValue("done"), relay.Verbs()
	if err := p.get("/v1/queue/"+id+"/why", nil, &d.Why); err != nil {
		return d, err
	}
	if d.Why.State == "finished" {
		return d, nil
	}
	if d.Routes, err = p.routes(); err != nil {
		return d, err
	}
	b, err := p.ask(http.MethodGet, "/v1/queue/"+id+"/headers", nil, nil, nil)
	if err == nil {
		d.Headers = text(b)
	}
	return d, nil // it may have left in between
}

func (p *page) message() error {
	d, err := p.messageData()
	if err != nil {
		return err
	}
	return p.show("message.html", "Message "+d.Why.ID.String(), d)
}

// content shows a message with its body. It is a form, since the log tells who reads.
func (p *page) content() error {
	d, err := p.messageData()
	if err != nil {
		return err
	}
	b, err := p.ask(http.MethodGet, "/v1/queue/"+url.PathEscape(p.r.PathValue("id"))+"/content", nil, nil, nil)
	if err != nil {
		return err
	}
	d.Body = text(b)
	return p.show("message.html", "Message "+d.Why.ID.String(), d)
}

func text(b []byte) string {
	shown := strings.ToValidUTF8(string(b[:min(len(b), shownBody)]), "�")
	if len(b) > shownBody {
		shown += "\n\n[Only the beginning is shown: " + size(shownBody) + ".]"
	}
	return shown
}

type providersData struct {
	Status admin.Status
	Logins []admin.LoginStatus
}

func (p *page) providers() error {
	var d providersData
	if err := p.get("/v1/status", nil, &d.Status); err != nil {
		return err
	}
	if _, err := offered(p.get("/v1/oauth", nil, &d.Logins)); err != nil {
		return err
	}
	return p.show("providers.html", "Providers and routes", d)
}

type sendersData struct {
	Identities []admin.Identity
	Queued     admin.Shape // by identity
	Devices    []admin.Device
}

func (p *page) senders() error {
	var d sendersData
	if err := p.get("/v1/shape", url.Values{"by": {"identity"}}, &d.Queued); err != nil {
		return err
	}
	for path, into := range map[string]any{"/v1/identities": &d.Identities, "/v1/devices": &d.Devices} {
		if _, err := offered(p.get(path, nil, into)); err != nil {
			return err
		}
	}
	return p.show("senders.html", "Devices and identities", d)
}

func (p *page) checks() error {
	var d struct {
		Asked   bool
		Checked admin.Checked
	}
	if d.Asked = p.r.FormValue("run") != ""; d.Asked {
		if err := p.get("/v1/check", nil, &d.Checked); err != nil {
			return err
		}
	}
	return p.show("checks.html", "Checks", d)
}

func (p *page) history() error {
	var d struct {
		Filter, Fault string
		Offered       bool
		Past          admin.PastRecords
	}
	d.Filter = strings.TrimSpace(p.r.FormValue("filter"))
	err := p.get("/v1/history", url.Values{"filter": {d.Filter}, "limit": {listed}}, &d.Past)
	if bad, ok := err.(*problem); ok && bad.Status == http.StatusBadRequest {
		d.Fault, err = bad.Detail, nil
	}
	if d.Offered, err = offered(err); err != nil {
		return err
	}
	slices.Reverse(d.Past.Records)
	return p.show("history.html", "History", d)
}

// audit shows who did what, the newest first.
func (p *page) audit() error {
	var d struct {
		Filter, Fault string
		Offered       bool
		Audit         admin.AuditRecords
	}
	d.Filter = strings.TrimSpace(p.r.FormValue("filter"))
	err := p.get("/v1/audit", url.Values{"filter": {d.Filter}, "limit": {listed}}, &d.Audit)
	if bad, ok := err.(*problem); ok && bad.Status == http.StatusBadRequest {
		d.Fault, err = bad.Detail, nil
	}
	if d.Offered, err = offered(err); err != nil {
		return err
	}
	slices.Reverse(d.Audit.Records)
	return p.show("audit.html", "Who did what", d)
}
