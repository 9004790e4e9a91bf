package postgres

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"dawk/queue/postgres/postgrestest"
	"dawk/relay"
)

// testUnknownGivenUp: a commit that was made and not heard of is made again without the mail
// whose time was up meanwhile. What the attempt left is there once, and what was refused
// goes without another operation.
func testUnknownGivenUp(t *testing.T, s *postgrestest.Server) {
	dsn := database(t, s)
	opt := options(dsn, t.TempDir())
	opt.Timing.GiveUp = time.Millisecond
	q := openWithStandby(t, opt)
	q.Outbox().SetLimits(relay.OutboxLimits{MaxBytes: 1 << 20})
	id := mustEnqueue(t, q, 10)
	names := func(to string) {
		s.Exec("alter system set synchronous_standby_names = '" + to + "'")
		s.Exec("select pg_reload_conf()")
		eventually(t, "a reload", func() bool { return s.Exec("show synchronous_standby_names")[0] == to })
	}
	t.Cleanup(func() { names("") })
	names("nobody")
	now := time.Now()
	settled, refused := make(chan error, 1), make(chan error, 1)
	q.Settle(relay.Settlement{ID: id, Attempt: &relay.Attempt{At: now, N: 1}, Next: relay.State{Due: now.Add(time.Hour), Attempts: 1},
		Outcomes: []relay.Outcome{{Action: relay.ActionDelayed}}, Events: []relay.Event{{Time: now, Kind: relay.EventDelayed}}}, func(err error) { settled <- err })
	go func() {
		d, err := q.NewDraft()
		if err == nil {
			m := &relay.Message{ID: d.ID(), Arrival: now, Events: []relay.Event{{Time: now, Kind: relay.EventAccepted}}}
			m.Recipients = []relay.Recipient{{Path: mailbox(t, "to@example.com")}}
			err = q.Enqueue(t.Context(), d, m)
		}
		refused <- err
	}()
	eventually(t, "a refusal", func() bool {
		s.Exec("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'dawk/%' and wait_event = 'SyncRep'")
		return len(refused) > 0
	})
	if err := <-refused; !errors.Is(err, relay.ErrClosed) {
		t.Errorf("%v", err)
	}
	names("")
	if err := <-settled; err != nil {
		t.Error(err)
	}
	const left = "select (select count(*) from dawk.msg) || ' ' || (select count(*) from dawk.job) || ' ' || (select count(*) from dawk.hist) || ' ' || (select count(*) from dawk.event)"
	eventually(t, "one message, one attempt, one event: "+left, func() bool { return s.ExecIn(dsn, left)[0] == "1 1 1 1" })
}

// testTimeLimits: a limit that the database has for everybody's statements does not end the same
// group again and again.
func testTimeLimits(t *testing.T, s *postgrestest.Server) {
	dsn := database(t, s)
	name := dsn[strings.LastIndex(dsn, "=")+1:]
	s.Exec(fmt.Sprintf("alter database %s set statement_timeout = '300ms'", name))
	q := open(t, options(dsn, t.TempDir()))
	s.ExecIn(dsn, `set statement_timeout = 0; create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.6); return null; end $$;
		create trigger slow before insert on dawk.msg for each statement execute function slow()`)
	mustEnqueue(t, q, 10)
}

// testDraftNoSpace: a disk of this machine that is full is told as such.
func testDraftNoSpace(t *testing.T, s *postgrestest.Server) {
	q := open(t, options(database(t, s), t.TempDir()))
	d, err := q.NewDraft()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Discard()
	if d.(*draft).file, err = os.OpenFile("/dev/full", os.O_RDWR, 0); err != nil {
		t.Skip(err)
	}
	if _, err := d.Write(make([]byte, 2*q.opt.InlineLimit)); !errors.Is(err, relay.ErrNoSpace) {
		t.Errorf("%v", err)
	}
}
