package main

import (
	"bytes"
	"context"
	"hash/fnv"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"dawk/mx/dns"
	"dawk/mx/tlspolicy"
	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/tlsrpt"
)

const (
	tlsSaveEvery   = time.Minute
	tlsReportEvery = time.Hour
	// Reports of all senders should not come at midnight (RFC 8460 §4).
	tlsReportSpread = 4 * time.Hour
	// A host that takes its time with a report does not hold up all others.
	tlsReportsAtOnce = 8
)

// tlsReports counts sessions with MX hosts and tells their owners of them,
// where the configuration wants that. A nil one does nothing.
type tlsReports struct {
	counters *tlsrpt.Counters
	from     tlsrpt.Sender
	send     bool
	resolver *dns.Resolver
	post     func(ctx context.Context, to string, packed []byte) error
	accept   func(context.Context, accept.Submission) (relay.QueueID, error)
	log      *slog.Logger

	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// openTLSReports opens the counters. Trouble with them stops no mail.
func (r *instance) openTLSReports() error {
	if !r.cfg.Delivery.DANE && !r.cfg.Delivery.MTASTS {
		return nil
	}
	counters, err := tlsrpt.Open(filepath.Join(r.cfg.DataDir, "tlsrpt"), time.Now())
	if err != nil {
		r.log.Error("TLS reports: counters are missing", "err", err)
	}
	if counters == nil {
		return nil
	}
	contact := "postmaster@" + r.cfg.Hostname
	if p := r.cfg.PostmasterPath(); !p.IsNull() {
		contact = p.String()
	}
	r.reports = &tlsReports{counters: counters, send: r.cfg.Delivery.TLSReports, resolver: r.resolver, post: r.transport.PostReport, log: r.log,
		from: tlsrpt.Sender{Organization: r.cfg.Hostname, Contact: contact}}
	return nil
}

func (t *tlsReports) add(s tlspolicy.Report) {
	if t == nil {
		return
	}
	t.counters.Add(time.Now(), tlsrpt.Session{Domain: s.Domain, Type: s.Type, Policy: s.Policy, Patterns: s.Patterns,
		Host: s.Host, Addr: s.Addr, Result: s.Result, Detail: s.Detail})
}

// start saves counters and sends reports until close.
func (t *tlsReports) start(a *accept.Acceptor) {
	if t == nil {
		return
	}
	var ctx context.Context
	ctx, t.cancel = context.WithCancel(context.Background())
	t.accept = a.Submit
	t.wg.Go(func() {
		save, report := time.NewTicker(tlsSaveEvery), time.NewTicker(tlsReportEvery)
		defer save.Stop()
		defer report.Stop()
		t.report(ctx, time.Now())
		for {
			select {
			case <-ctx.Done():
				return
			case <-save.C:
				t.save()
			case <-report.C:
				t.report(ctx, time.Now())
			}
		}
	})
}

func (t *tlsReports) Close() {
	if t == nil {
		return
	}
	if t.cancel != nil {
		t.cancel()
		t.wg.Wait()
	}
	t.save()
}

func (t *tlsReports) save() {
	if err := t.counters.Save(time.Now()); err != nil {
		t.log.Error("TLS reports: counters cannot be written", "err", err)
	}
}

// report sends what is due. What cannot be sent now is tried again in an hour,
// until its day is forgotten.
func (t *tlsReports) report(ctx context.Context, now time.Time) {
	if !t.send {
		return
	}
	dates, domains := t.counters.Due(now.Add(-t.delay()))
	slots := make(chan struct{}, tlsReportsAtOnce)
	var wg sync.WaitGroup
	for _, date := range dates {
		for _, domain := range domains[date] {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				if ctx.Err() == nil && t.reportTo(ctx, date, domain) {
					t.counters.Done(date, domain)
				}
			})
		}
	}
	wg.Wait()
	t.save() // before anything else happens: a report is not to be sent twice
}

// delay is our own part of tlsReportSpread.
func (t *tlsReports) delay() time.Duration {
	h := fnv.New64a()
	h.Write([]byte(t.from.Organization))
	return time.Duration(h.Sum64() % uint64(tlsReportSpread))
}

// reportTo says whether a domain is done with: it was told, or does not ask
// to be.
func (t *tlsReports) reportTo(ctx context.Context, date, domain string) bool {
	answer, err := t.resolver.LookupTXT(ctx, tlsrpt.RecordName(domain))
	if err != nil {
		return !dns.Temporary(err)
	}
	to := tlsrpt.ParseRecord(answer.Records)
	if to.None() {
		return true
	}
	r, err := t.counters.Report(date, domain, t.from)
	if err != nil {
		t.log.Error("TLS reports: a report cannot be written", "domain", domain, "date", date, "err", err)
		return true
	}
	// One that has it is enough: nobody gets a report twice for another's sake.
	posted := t.postReport(ctx, r, to.HTTPS)
	mailed := t.mailReport(ctx, r, to.Mail)
	return posted || mailed
}

// postReport says whether a host took the report; the first that does is enough
// (RFC 8460 §3).
func (t *tlsReports) postReport(ctx context.Context, r *tlsrpt.Report, to []string) bool {
	for _, u := range to {
		if err := t.post(ctx, u, r.Packed()); err != nil {
			t.log.Warn("TLS reports: a report was not taken over HTTPS", "domain", r.Domain, "to", u, "err", err)
			continue
		}
		t.log.Info("TLS reports: a report was handed over", "domain", r.Domain, "to", u, "report", r.ID)
		return true
	}
	return false
}

// mailReport says whether a report is on its way to a mailbox.
func (t *tlsReports) mailReport(ctx context.Context, r *tlsrpt.Report, to []relay.Path) bool {
	done := false
	for _, p := range to {
		// The null reverse-path and NOTIFY=NEVER: nobody is to hear of a
		// report that cannot be delivered.
		s := accept.Submission{Submitter: accept.Submitter{Identity: "dawk", Listener: "tlsrpt", Protocol: "ESMTP"},
			Envelope: relay.Envelope{Recipients: []relay.Recipient{{Path: p, Notify: relay.NotifyNever}}},
			Content:  bytes.NewReader(r.Message(t.from, p))}
		if _, err := t.accept(ctx, s); err != nil {
			t.log.Warn("TLS reports: a report cannot be queued; it is tried again", "domain", r.Domain, "to", p.Wire(), "err", err)
			continue
		}
		done = true
	}
	return done
}
