package delivery

import (
	"fmt"
	"io"
	"sync"
	"time"

	"dawk/bounce"
	"dawk/relay"
)

// Bounds of one digest; what is beyond them goes into the next one.
const (
	maxDigest      = 1000    // notices
	maxDigestBytes = 4 << 20 // octets of notices
)

// heldNotice is a held-back notice whose time has come.
type heldNotice struct {
	work    work
	claim   *relay.Claim
	content []byte
}

// digest sends what was held back for one mailbox: one message that lists them
// all. The digest is committed with the first of them, and then the others
// end; a crash in between lists those once more, and loses none.
//
// w stays in flight until its companions are off the schedule, which keeps
// others from beginning a digest with some of them.
func (d *Dispatcher) digest(w work, claim *relay.Claim) {
	content, err := readAll(claim.Content)
	all := []heldNotice{{w, claim, content}}
	if err == nil {
		all = append(all, d.companions(w, len(content))...)
	}
	d.land(w, finding{})
	defer func() {
		for _, h := range all[1:] {
			h.claim.Content.Close()
			d.wg.Done()
		}
	}()
	now := time.Now().Round(0)
	notice, err := d.composeDigest(now, all, err)
	if err != nil || len(all) == 1 {
		if err != nil {
			d.cfg.Log.Error("a digest of notices could not be composed; they are sent one by one", "qid", w.id, "notices", len(all), "error", err)
		}
		atOnce(all, func(h heldNotice) { d.settle(h.work, h.claim, d.settler.single(now, h.claim, d.transport)) })
		return
	}
	first := d.settler.digested(now, claim, notice.Message.ID)
	first.settlement.Notices = []relay.Notice{notice}
	e := event(relay.EventNotified, now, claim)
	e.NoticeID, e.NoticeKind, e.Recipient, e.Count = notice.Message.ID, noticeDigest, notice.Message.Recipients[0].Path, len(all)
	first.events = append(first.events, e)
	if !d.settle(w, claim, first) {
		for _, h := range all[1:] {
			d.release(h.work, h.work.was)
		}
		return
	}
	atOnce(all[1:], func(h heldNotice) { d.settle(h.work, h.claim, d.settler.digested(now, h.claim, notice.Message.ID)) })
}

// noticeDigest is the NoticeKind of a digest.
const noticeDigest = "digest"

// atOnce does it to several at a time, as ActAll does.
func atOnce[T any](all []T, do func(T)) {
	var wg sync.WaitGroup
	room := make(chan struct{}, bulkWorkers)
	for _, one := range all {
		room <- struct{}{}
		wg.Go(func() { do(one); <-room })
	}
	wg.Wait()
}

// companions are the other notices of w's destination whose time has come, off
// the schedule and read. size is that of w's.
func (d *Dispatcher) companions(w work, size int) (all []heldNotice) {
	d.mu.Lock()
	var works []work
	for _, r := range d.sched.readyWith(w.r, maxDigest-1) {
		d.wg.Add(1)
		works = append(works, d.workOn(r))
		d.sched.pull(r)
	}
	d.mu.Unlock()
	for _, other := range works {
		if size > maxDigestBytes {
			d.release(other, other.was)
			d.wg.Done()
			continue
		}
		claim, err := d.queue.Claim(other.id, other.job)
		if err != nil {
			d.unread(other, claim, err)
			d.wg.Done()
			continue
		}
		content, err := readAll(claim.Content)
		if err != nil {
			claim.Content.Close()
			d.unclaimed(other, err)
			d.wg.Done()
			continue
		}
		size += len(content)
		all = append(all, heldNotice{other, claim, content})
	}
	return all
}

func readAll(c relay.Content) ([]byte, error) {
	b := make([]byte, c.Size())
	if n, err := c.ReadAt(b, 0); n < len(b) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read a notice: %w", err)
	}
	return b, nil
}

func (d *Dispatcher) composeDigest(now time.Time, all []heldNotice, readErr error) (n relay.Notice, err error) {
	if readErr != nil || len(all) == 1 {
		return n, readErr
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	r := bounce.DigestReport{ID: d.queue.NextID(), To: all[0].claim.Message.Recipients[0].Path, Limit: d.cfg.NoticeLimit, Now: now}
	for _, h := range all {
		r.Notices = append(r.Notices, bounce.HeldBack{ID: h.work.id, Content: h.content})
	}
	if n, err = bounce.Digest(d.settler.bounce, r); err == nil {
		d.settler.signSafely(&n)
	}
	return n, err
}

// digested ends a notice that a digest lists.
func (s *settler) digested(now time.Time, c *relay.Claim, in relay.QueueID) decision {
	dec := decision{gone: true, settlement: relay.Settlement{ID: c.Message.ID, Job: c.Delivery.Job,
		Outcomes: outcomesFor(c.Delivery, relay.ActionDeleted, listedIn(in)), Next: c.Delivery.State()}}
	dec.events = listed(now, c, in, noticeDigest)
	return dec
}

// listed tells that a notice ended because another one lists what it told.
func listed(now time.Time, c *relay.Claim, in relay.QueueID, reason string) (events []relay.Event) {
	for _, o := range c.Delivery.Open {
		e := event(relay.EventDeleted, now, c)
		e.Recipient, e.Reply, e.Reason = c.Message.Recipients[o.Recipient].Path, listedIn(in), reason
		events = append(events, e)
	}
	return events
}

func listedIn(in relay.QueueID) relay.Reply {
	return relay.Failure(relay.StageRoute, relay.Status{Class: 2}, "listed in the notice %s", in)
}

// single sends a held-back notice by itself: it gets the destination that
// other notices have at once.
func (s *settler) single(now time.Time, c *relay.Claim, t Transport) decision {
	var split []relay.Split
	for _, o := range c.Delivery.Open {
		split = append(split, relay.Split{Destination: t.Destination(c.Message, c.Message.Recipients[o.Recipient].Path), Recipients: []int{o.Recipient}})
	}
	return s.part(now, c, split)
}
