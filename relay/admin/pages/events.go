package pages

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"dawk/relay/admin"
	"dawk/relay/admin/suppressed"
	"dawk/relay/admin/webhooks"
	"dawk/relay/suppression"
	"dawk/relay/webhook"
)

type webhooksData struct {
	Done, Fault string
	Hooks       []webhook.Status
	Events      admin.StatusEvents
}

// webhooks shows how far programs were told of mail.
func (p *page) webhooks() error {
	d := webhooksData{Done: p.r.FormValue("done"), Fault: p.r.FormValue("fault")}
	var s admin.Status
	if err := p.get("/v1/status", nil, &s); err != nil {
		return err
	}
	d.Events = s.Events
	if err := p.get("/v1/webhooks", nil, &d.Hooks); err != nil {
		return err
	}
	return p.show("webhooks.html", "Webhooks", d)
}

// actOnWebhook tests, replays or enables one, and goes back to the list.
func (p *page) actOnWebhook() error {
	q := webhooks.Request{Name: p.r.PostFormValue("name")}
	said := url.Values{}
	var err error
	switch verb := p.r.PostFormValue("verb"); verb {
	case "test":
		var t webhooks.Tested
		if _, err = p.ask(http.MethodPost, "/v1/webhooks/test", nil, q, &t); err == nil {
			switch {
			case t.OK:
				said.Set("done", fmt.Sprintf("%s took the test event: HTTP status %d", q.Name, t.Status))
			case t.Error != "":
				said.Set("fault", q.Name+" did not take the test event: "+t.Error)
			default:
				said.Set("fault", fmt.Sprintf("%s did not take the test event: HTTP status %d", q.Name, t.Status))
			}
		}
	case "replay":
		q.Terms = strings.Fields(p.r.PostFormValue("terms"))
		var c webhooks.Replayed
		if _, err = p.ask(http.MethodPost, "/v1/webhooks/replay", nil, q, &c); err == nil {
			said.Set("done", fmt.Sprintf("%s: told again: %d events", q.Name, c.Count))
		}
	case "enable":
		if _, err = p.ask(http.MethodPost, "/v1/webhooks/enable", nil, q, &webhook.Status{}); err == nil {
			said.Set("done", q.Name+" is active")
		}
	default:
		err = &problem{admin.Problem{Status: http.StatusBadRequest, Detail: "There is no such act."}}
	}
	if bad, ok := err.(*problem); ok && bad.Status == http.StatusBadRequest {
		said.Set("fault", bad.Detail)
	} else if err != nil {
		return err
	}
	http.Redirect(p.w, p.r, "/webhooks?"+said.Encode(), http.StatusSeeOther)
	return nil
}

type suppressionData struct {
	Filter, Fault, Done string
	Offered             bool
	List                suppressed.Entries
	Added               []string // what Undo takes off again
	Removed             string   // what Undo puts back, as CSV
	Ask                 int      // how many the filter picks, where removing them is asked for
	Form                suppressed.AddRequest
	Expires             string
}

// suppression shows who gets no mail any more.
func (p *page) suppression() error {
	return p.showSuppression(suppressionData{Filter: strings.TrimSpace(p.r.FormValue("filter"))})
}

func (p *page) showSuppression(d suppressionData) error {
	err := p.get("/v1/suppression", url.Values{"filter": {d.Filter}, "limit": {listed}}, &d.List)
	if bad, ok := err.(*problem); ok && bad.Status == http.StatusBadRequest {
		d.Fault, err = bad.Detail, nil
	}
	if d.Offered, err = offered(err); err != nil {
		return err
	}
	return p.show("suppression.html", "Suppression", d)
}

// actOnSuppression adds to the list, takes off it, and takes either back.
func (p *page) actOnSuppression() error {
	d := suppressionData{Filter: strings.TrimSpace(p.r.PostFormValue("filter"))}
	var err error
	switch p.r.PostFormValue("verb") {
	case "add":
		err = p.suppress(&d)
	case "remove":
		err = p.unsuppress(&d)
	case "put back":
		var c suppressed.Changed
		if _, err = p.ask(http.MethodPost, "/v1/suppression/import", url.Values{"format": {"csv"}}, raw(p.r.PostFormValue("removed")), &c); err == nil {
			d.Done = fmt.Sprintf("Put back: %d", c.Count)
		}
	default:
		err = &problem{admin.Problem{Status: http.StatusBadRequest, Detail: "There is no such act."}}
	}
	if bad, ok := err.(*problem); ok && bad.Status == http.StatusBadRequest {
		d.Fault, err = bad.Detail, nil
	}
	if err != nil {
		return err
	}
	return p.showSuppression(d)
}

func (p *page) suppress(d *suppressionData) error {
	d.Form = suppressed.AddRequest{Addresses: strings.Fields(p.r.PostFormValue("addresses")), Identity: strings.TrimSpace(p.r.PostFormValue("identity")), Reason: strings.TrimSpace(p.r.PostFormValue("reason"))}
	d.Expires = strings.TrimSpace(p.r.PostFormValue("expires"))
	if d.Expires != "" {
		if err := d.Form.Expires.UnmarshalText([]byte(d.Expires)); err != nil {
			return &problem{admin.Problem{Status: http.StatusBadRequest, Detail: err.Error()}}
		}
	}
	var c suppressed.Changed
	if _, err := p.ask(http.MethodPost, "/v1/suppression/add", nil, d.Form, &c); err != nil {
		return err
	}
	d.Done, d.Added = fmt.Sprintf("On the list: %d", c.Count), d.Form.Addresses
	d.Form, d.Expires = suppressed.AddRequest{}, ""
	return nil
}

// unsuppress takes off what was selected, or all that the filter picks: that it asks first.
func (p *page) unsuppress(d *suppressionData) error {
	q := suppressed.RemoveRequest{Filter: d.Filter}
	if p.r.PostFormValue("what") == "filter" {
		q.DryRun = p.r.PostFormValue("sure") == ""
	} else if q.Filter = suppression.FilterFor(p.r.PostForm["address"]); len(p.r.PostForm["address"]) == 0 {
		return &problem{admin.Problem{Status: http.StatusBadRequest, Detail: "Nothing is selected: select entries, or choose all that the filter picks."}}
	}
	var c suppressed.Changed
	if _, err := p.ask(http.MethodPost, "/v1/suppression/remove", nil, q, &c); err != nil {
		return err
	}
	if q.DryRun {
		d.Ask = c.Count
		return nil
	}
	d.Done = fmt.Sprintf("Taken off the list: %d", c.Count)
	if c.Count > 0 && c.Count == len(c.Entries) { // else there are more than an answer has
		var b bytes.Buffer
		w := suppression.NewWriter(&b)
		for _, e := range c.Entries {
			if err := w.Write(e); err != nil {
				return err
			}
		}
		if err := w.Flush(); err != nil {
			return err
		}
		d.Removed = b.String()
	}
	return nil
}
