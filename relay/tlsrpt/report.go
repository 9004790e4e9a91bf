package tlsrpt

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"dawk/relay"
)

// Sender is who reports.
type Sender struct {
	Organization string // our hostname: the domain of From, and of the signature
	Contact      string // a mailbox, or ""
}

// Report is the report of one day to one domain.
type Report struct {
	Domain string
	ID     string
	Start  time.Time // of the day

	json []byte
}

// Due are the days that are over and not reported yet, with the domains that
// had sessions, oldest first.
func (c *Counters) Due(now time.Time) (dates []string, domains map[string][]string) {
	today := now.UTC().Format(dayFormat)
	c.mu.Lock()
	defer c.mu.Unlock()
	domains = map[string][]string{}
	for date, d := range c.days {
		if date >= today {
			continue
		}
		for name, dom := range d.Domains {
			if !dom.Reported {
				domains[date] = append(domains[date], name)
			}
		}
		if len(domains[date]) > 0 {
			slices.Sort(domains[date])
			dates = append(dates, date)
		}
	}
	slices.Sort(dates)
	return dates, domains
}

// Done marks a domain as reported, or as not wanting to be.
func (c *Counters) Done(date, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.days[date]; d != nil && d.Domains[name] != nil {
		d.Domains[name].Reported, d.dirty = true, true
	}
}

// The report as RFC 8460 §4.4 has it.
type reportJSON struct {
	Organization string `json:"organization-name"`
	Range        struct {
		Start string `json:"start-datetime"`
		End   string `json:"end-datetime"`
	} `json:"date-range"`
	Contact  string    `json:"contact-info"`
	ID       string    `json:"report-id"`
	Policies []*policy `json:"policies"`
}

// Report writes the report of a day to a domain.
func (c *Counters) Report(date, name string, from Sender) (*Report, error) {
	start, err := time.Parse(dayFormat, date)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.days[date]
	if d == nil || d.Domains[name] == nil {
		return nil, fmt.Errorf("no sessions with %s on %s", name, date)
	}
	r := &Report{Domain: name, Start: start, ID: date + "_" + name + "@" + from.Organization}
	out := reportJSON{Organization: from.Organization, Contact: from.Contact, ID: r.ID, Policies: d.Domains[name].Policies}
	out.Range.Start = start.Format(time.RFC3339)
	out.Range.End = start.Add(24*time.Hour - time.Second).Format(time.RFC3339)
	r.json, err = json.MarshalIndent(out, "", " ")
	return r, err
}

// Packed is the report with gzip: what goes by HTTPS, and into the mail.
func (r *Report) Packed() []byte {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(r.json) //nolint:errcheck // memory
	z.Close()       //nolint:errcheck // memory
	return packed.Bytes()
}

// Message is the report as a mail (RFC 8460 §5.3), strict CRLF, without Date
// and Message-ID. It must be signed by the organization's key.
func (r *Report) Message(from Sender, to relay.Path) []byte {
	const boundary = "=_dawk_tlsrpt"
	end := r.Start.Add(24*time.Hour - time.Second)
	name := fmt.Sprintf("%s!%s!%d!%d.json.gz", from.Organization, r.Domain, r.Start.Unix(), end.Unix())
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	line("From: TLS reports of %s <postmaster@%s>", from.Organization, from.Organization)
	line("To: %s", to.Wire())
	line("Subject: Report Domain: %s\r\n Submitter: %s\r\n Report-ID: <%s>", r.Domain, from.Organization, r.ID)
	line("TLS-Report-Domain: %s\r\nTLS-Report-Submitter: %s", r.Domain, from.Organization)
	line("TLS-Required: No") // RFC 8460 §3: a report about broken TLS must get through
	line("Auto-Submitted: auto-generated\r\nMIME-Version: 1.0")
	line("Content-Type: multipart/report; report-type=\"tlsrpt\";\r\n boundary=\"%s\"\r\n", boundary)
	line("--%s\r\nContent-Type: text/plain; charset=us-ascii\r\n", boundary)
	line("This is an aggregate report (RFC 8460) about TLS between the mail relay\r\n%s\r\nand the hosts of\r\n%s\r\non %s (UTC).\r\n",
		from.Organization, r.Domain, r.Start.Format(dayFormat))
	line("--%s\r\nContent-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64", boundary)
	line("Content-Disposition: attachment;\r\n filename=\"%s\"\r\n", name)
	text := base64.StdEncoding.EncodeToString(r.Packed())
	for len(text) > 76 {
		line("%s", text[:76])
		text = text[76:]
	}
	line("%s\r\n--%s--", text, boundary)
	return b.Bytes()
}
