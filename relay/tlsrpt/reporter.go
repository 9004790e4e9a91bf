package tlsrpt

import (
	"context"
	"hash/fnv"
	"log/slog"
	"sync"
	"time"

	"dawk/relay"
)

const (
	saveEvery   = time.Minute
	reportEvery = time.Hour
	// Reports of all senders should not come at midnight (RFC 8460 §4).
	spread = 4 * time.Hour
	// A host that is slow to take its report does not delay the others.
	atOnce = 8
)

// Way is how reports leave.
type Way interface {
	// Record is the content of the TXT records of a name. Temporary says of an
	// error that asking again may help.
	Record(ctx context.Context, name string) (records []string, temporary bool, err error)
	// Post hands a packed report to a web address.
	Post(ctx context.Context, to string, packed []byte) error
	// Mail queues a message to a mailbox.
	Mail(ctx context.Context, to relay.Path, message []byte) error
}

// Reporter saves the counters, and sends the reports that are due.
type Reporter struct {
	Counters *Counters
	From     Sender
	Way      Way // nil: nothing is sent
	Log      *slog.Logger
}

// Run works until ctx ends, and saves once more then.
func (r *Reporter) Run(ctx context.Context) {
	save, report := time.NewTicker(saveEvery), time.NewTicker(reportEvery)
	defer save.Stop()
	defer report.Stop()
	r.reportDue(ctx, time.Now())
	for {
		select {
		case <-ctx.Done():
			r.save()
			return
		case <-save.C:
			r.save()
		case <-report.C:
			r.reportDue(ctx, time.Now())
		}
	}
}

func (r *Reporter) save() {
	if err := r.Counters.Save(time.Now()); err != nil {
		r.Log.Error("TLS reports: counters cannot be written", "err", err)
	}
}

// reportDue sends what is due. What cannot be sent now is tried again in an
// hour, until its day is forgotten.
func (r *Reporter) reportDue(ctx context.Context, now time.Time) {
	if r.Way == nil {
		return
	}
	dates, domains := r.Counters.Due(now.Add(-r.delay()))
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for _, date := range dates {
		for _, domain := range domains[date] {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				if ctx.Err() == nil && r.reportTo(ctx, date, domain) {
					r.Counters.Done(date, domain)
				}
			})
		}
	}
	wg.Wait()
	r.save() // at once: a report must not be sent twice
}

// delay is our own part of spread.
func (r *Reporter) delay() time.Duration {
	h := fnv.New64a()
	h.Write([]byte(r.From.Organization)) //nolint:errcheck // never fails
	return time.Duration(h.Sum64() % uint64(spread))
}

// reportTo says whether a domain is done with: it was told, or does not ask
// for reports.
func (r *Reporter) reportTo(ctx context.Context, date, domain string) bool {
	records, temporary, err := r.Way.Record(ctx, RecordName(domain))
	if err != nil {
		return !temporary
	}
	to := ParseRecord(records)
	if to.None() {
		return true
	}
	report, err := r.Counters.Report(date, domain, r.From)
	if err != nil {
		r.Log.Error("TLS reports: a report cannot be written", "domain", domain, "date", date, "err", err)
		return true
	}
	// One success is enough: no address gets a report twice because another failed.
	posted := r.post(ctx, report, to.HTTPS)
	mailed := r.mail(ctx, report, to.Mail)
	return posted || mailed
}

// post says whether a host took the report; the first that does is enough
// (RFC 8460 §3).
func (r *Reporter) post(ctx context.Context, report *Report, to []string) bool {
	for _, u := range to {
		if err := r.Way.Post(ctx, u, report.Packed()); err != nil {
			r.Log.Warn("TLS reports: a report was not taken over HTTPS", "domain", report.Domain, "to", u, "err", err)
			continue
		}
		r.Log.Info("TLS reports: a report was handed over", "domain", report.Domain, "to", u, "report", report.ID)
		return true
	}
	return false
}

// mail says whether a report is queued for a mailbox.
func (r *Reporter) mail(ctx context.Context, report *Report, to []relay.Path) (queued bool) {
	for _, p := range to {
		if err := r.Way.Mail(ctx, p, report.Message(r.From, p)); err != nil {
			r.Log.Warn("TLS reports: a report cannot be queued; it is tried again", "domain", report.Domain, "to", p.Wire(), "err", err)
			continue
		}
		queued = true
	}
	return queued
}
