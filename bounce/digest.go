package bounce

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"dawk/relay"
)

// Row is what a digest says about one message: the notice that Compose would have written, in
// short.
type Row struct {
	Language   string   `json:"language"`
	Subject    string   `json:"subject"`
	Lines      []string `json:"lines"`  // what became of each recipient, and which message it was
	Status     string   `json:"status"` // for programs: the fields of each recipient, a blank line before each
	Recipients int      `json:"recipients"`
	Full       bool     `json:"full,omitempty"` // it stands for a notice because the disk was full, and not because of the limit
}

// Summarize writes the row that replaces a notice. Text of strangers is bounded and stays inside
// its line or its field.
func Summarize(c Config, r Report) (Row, error) {
	if _, err := check(c, r); err != nil {
		return Row{}, err
	}
	c.Hostname, _ = relay.NormalizeDomain(c.Hostname)
	global := !To(c, r.Kind, r.Message).ASCII()
	if r.Kind != KindDoubleBounce { // that one is the postmaster's
		r.Outcomes = outcomesForSender(r.Outcomes)
	}
	orig := readOriginal(c, r)
	l := languageOf(c, r, orig)
	row := Row{Language: l.tag, Subject: noticeSubject(l, r, orig), Recipients: len(r.Outcomes)}
	var status bytes.Buffer
	for i, o := range r.Outcomes {
		status.WriteString("\r\n")
		writeRecipient(&status, r, o, global)
		writeMessage(&status, r, global, "X-", "") // extension fields of a recipient (RFC 3464 §2.3.10)
		switch {
		case i < maxNamed:
			row.Lines = append(row.Lines, address(r.Message.Recipients[o.Recipient].Path)+": "+briefly(o))
		case i == maxNamed:
			row.Lines = append(row.Lines, l.say("names.more", "n", strconv.Itoa(len(r.Outcomes)-i)))
		}
	}
	row.Status = status.String()
	for _, d := range [][2]string{{"accepted", l.date(r.Message.Arrival)}, {"queue_id", r.Message.ID.String()}} {
		row.Lines = append(row.Lines, l.say("details."+d[0], "value", d[1], "host", c.Hostname))
	}
	return row, nil
}

// briefly is what was said of a recipient, or else its status.
func briefly(o relay.Outcome) string {
	if words := said(o.Reply); words != "" {
		return words
	}
	_, status := actionStatus(o)
	return status.String()
}

// DigestReport is one message that replaces many notices to the same mailbox: those beyond its
// limit, or those that came while the disk was full.
type DigestReport struct {
	ID    relay.QueueID // of the digest itself
	To    relay.Path
	Limit int   // notices that are sent one by one
	Rows  []Row // at least one
	Now   time.Time
}

// Digest writes it: a multipart/report whose text lists every message, and
// whose one delivery status has every recipient of all of them.
//
// RFC 3464 has no report about several messages. This one keeps its syntax, so that programs that
// strike off dead addresses find each address with its status: fields of a message are repeated, as
// extension fields (§2.3.10), with each of its recipients. (With separate status parts in a
// multipart/mixed, programs that guess took the mailbox of the notice for a dead one.)
func Digest(c Config, r DigestReport) (relay.Notice, error) {
	if err := c.Validate().Err(); err != nil {
		return relay.Notice{}, err
	}
	if r.ID.IsZero() || r.To.IsNull() || len(r.Rows) == 0 {
		return relay.Notice{}, fmt.Errorf("%w: a digest needs a queue ID, a recipient and a row", ErrReport)
	}
	c.Hostname, _ = relay.NormalizeDomain(c.Hostname)
	lang := c.languages().find(r.Rows[0].Language)
	if lang == nil {
		lang = c.house()
	}
	n := strconv.Itoa(len(r.Rows))
	subject := lang.say("digest.subject", "n", n)
	if len(r.Rows) == 1 {
		subject = r.Rows[0].Subject
	}
	var status bytes.Buffer
	writeField(&status, "Reporting-MTA", "dns; "+c.Hostname)
	writeField(&status, "X-Dawk-Digest", n)
	for _, row := range r.Rows {
		status.WriteString(row.Status)
	}
	global := !r.To.ASCII()
	if !global && !relay.ASCII(status.Bytes()) {
		return relay.Notice{}, fmt.Errorf("%w: rows for another mailbox than %s", ErrReport, r.To)
	}
	parts := []part{textPart(digestText(c, lang, r), lang), statusPart(status.Bytes(), global && !relay.ASCII(status.Bytes()))}
	return assemble(c, Report{ID: r.ID, Message: &relay.Message{}, Now: r.Now}, r.To, subject, parts, global), nil
}

// digestText is what people read: who did not get what, message by message.
func digestText(c Config, l *language, r DigestReport) []byte {
	var b bytes.Buffer
	full := 0
	for _, row := range r.Rows {
		if row.Full {
			full++
		}
	}
	var why []string
	if n := len(r.Rows) - full; n > 0 {
		why = append(why, l.say("digest.text", "address", address(r.To), "n", strconv.Itoa(n), "limit", strconv.Itoa(r.Limit)))
	}
	if full > 0 {
		why = append(why, l.say("digest.full", "address", address(r.To), "n", strconv.Itoa(full)))
	}
	wrap(&b, "", sentences(append(why, l.say("digest.programs"))...))
	for i, row := range r.Rows {
		b.WriteString("\r\n")
		wrap(&b, "", strconv.Itoa(i+1)+". "+row.Subject)
		for _, line := range row.Lines {
			wrap(&b, "  ", line)
		}
	}
	b.WriteString("\r\n")
	wrap(&b, "", l.say("footer", "host", c.Hostname))
	return b.Bytes()
}
