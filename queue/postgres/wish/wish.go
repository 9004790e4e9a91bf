// Package wish lets an operator at one node act on mail that another node has. What is asked
// is a row of a table; the node that owns the message's partition does it, and answers
// there. Nodes need no network between each other.
//
// The table is unlogged: after a crash of the database it is empty, and whoever asked hears
// that the outcome is unknown. All times are the database's.
//
// Goroutines: [Desk.Run], and one for each act that it does for others. Begin reading there.
package wish

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"dawk/queue"
	"dawk/relay"
)

// Act is what an operator wants done to a message.
type Act struct {
	ID         relay.QueueID `json:"id"`
	Whole      bool          `json:"whole,omitempty"`      // to all Deliveries: Job and Recipients mean nothing
	Job        uint16        `json:"job,omitempty"`        // else to this one
	Recipients []int         `json:"recipients,omitempty"` // only to these; nil: to all
	Verb       relay.Verb    `json:"verb"`
	Route      string        `json:"route,omitempty"` // of relay.VerbReroute
}

// Config is what a Desk needs.
type Config struct {
	Pool *pgxpool.Pool
	// Owns says whether this node has the partition of a key, Parts are all that it has.
	Owns  func(key uint64) bool
	Parts func() []int16
	// Do does an act to mail of this node. Its error is relay.ErrNotFound where the scheduler has none
	// such, relay.ErrPending where it is done later.
	Do  func(context.Context, Act) error
	Log *slog.Logger
}

const (
	idle     = 400 * time.Millisecond // between two looks for what others ask
	busy     = 25 * time.Millisecond  // while there is something
	patience = 15 * time.Second       // of who asks
	fresh    = "10 seconds"           // a wish is not begun later: well before its asker gives up
	old      = "1 hour"               // a wish that nobody fetched the answer of
	atOnce   = 256                    // acts for others
	query    = 5 * time.Second        // for one statement
)

const table = `create unlogged table if not exists dawk.wish (
	id     text primary key,
	part   smallint not null,
	act    jsonb not null,
	made   timestamptz not null default clock_timestamp(),
	taken  bool not null default false,
	answer jsonb
)`

// answer is what the owner says. Its zero value: it was done.
type answer struct {
	NotFound bool   `json:"not_found,omitempty"`
	Pending  bool   `json:"pending,omitempty"`
	Error    string `json:"error,omitempty"`
}

func answerOf(err error) answer {
	switch {
	case err == nil:
		return answer{}
	case errors.Is(err, relay.ErrPending):
		return answer{Pending: true}
	case errors.Is(err, relay.ErrNotFound):
		return answer{NotFound: true}
	}
	return answer{Error: relay.Clip(err.Error())}
}

func (a answer) err() error {
	switch {
	case a.NotFound:
		return relay.ErrNotFound
	case a.Pending:
		return relay.ErrPending
	case a.Error != "":
		return errors.New(a.Error)
	}
	return nil
}

// Desk asks other nodes, and does what they ask.
type Desk struct {
	Config
	kick chan struct{}

	mu      sync.Mutex
	asked   []*asking          // not in the table yet
	waiting map[string]*asking // in the table, by ID
	done    []finished         // for others, not answered yet
	working int                // acts for others
}

type asking struct {
	id     string
	act    Act
	answer chan answer
}

type finished struct {
	id string
	answer
}

// New makes a desk. Nothing is asked or done before Run.
func New(c Config) *Desk {
	return &Desk{Config: c, kick: make(chan struct{}, 1), waiting: make(map[string]*asking)}
}

// Do has the node that owns a message do an act, this one or another. While the message goes
// from one to another it waits. The errors are those of Config.Do, or say that the outcome is unknown.
func (d *Desk) Do(ctx context.Context, act Act) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		var err error
		if d.Owns(act.ID.Key) {
			err = d.Config.Do(ctx, act)
		} else {
			err = d.ask(ctx, act)
		}
		if !errors.Is(err, relay.ErrNotFound) || !d.there(ctx, act) {
			return err
		}
		select { // its partition was given away just now, or is being loaded
		case <-time.After(4 * busy):
		case <-ctx.Done():
			return err
		}
	}
}

func partOf(act Act) int16 { return int16(act.ID.Key % queue.Partitions) }

// there says whether what act is for is in the queue of any node.
func (d *Desk) there(ctx context.Context, act Act) (is bool) {
	err := d.Pool.QueryRow(ctx, `select exists (select from dawk.job where part = $1 and key = $2 and ($3 or job = $4))`,
		partOf(act), int64(act.ID.Key), act.Whole, int32(act.Job)).Scan(&is)
	return is && err == nil
}

func (d *Desk) ask(ctx context.Context, act Act) error {
	a := &asking{id: rand.Text(), act: act, answer: make(chan answer, 1)}
	d.mu.Lock()
	d.asked = append(d.asked, a)
	d.mu.Unlock()
	d.wake()
	select {
	case got := <-a.answer:
		return got.err()
	case <-ctx.Done():
		d.mu.Lock()
		delete(d.waiting, a.id)
		d.mu.Unlock()
		return fmt.Errorf("%s %s: the relay that has it has not answered; look again with dawk why: %w", act.Verb, act.ID, context.Cause(ctx))
	}
}

func (d *Desk) wake() {
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

// Run asks and answers until ctx ends.
func (d *Desk) Run(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	made, said := false, ""
	cleaned := time.Now()
	for pause := time.Duration(0); ; {
		select {
		case <-time.After(pause):
		case <-d.kick:
		case <-ctx.Done():
			return
		}
		var err error
		if !made {
			err = d.exec(ctx, table)
			made = err == nil
		}
		if err == nil && time.Since(cleaned) > time.Minute {
			cleaned = time.Now()
			err = d.exec(ctx, `delete from dawk.wish where made < clock_timestamp() - $1::interval`, old)
		}
		var some bool
		if err == nil {
			some, err = d.turn(ctx, &group)
		}
		if err != nil && ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			d.Log.Warn("acts of operators on mail of other nodes must wait", "error", err)
		} else if err == nil {
			said = ""
		}
		if pause = idle; some {
			pause = busy
		}
	}
}

func (d *Desk) exec(ctx context.Context, sql string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, query)
	defer cancel()
	_, err := d.Pool.Exec(ctx, sql, args...)
	return err
}

// turn moves everything one step: questions into the table, answers out of it, and the same
// for what others ask. some: there may soon be more.
func (d *Desk) turn(ctx context.Context, group *sync.WaitGroup) (some bool, err error) {
	if err := d.put(ctx); err != nil {
		return false, err
	}
	if err := d.fetch(ctx); err != nil {
		return false, err
	}
	if err := d.take(ctx, group); err != nil {
		return false, err
	}
	if err := d.tell(ctx); err != nil {
		return false, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.asked)+len(d.waiting)+len(d.done)+d.working > 0, nil
}

// put writes down what is asked. Who asked again after an error is passed over.
func (d *Desk) put(ctx context.Context) error {
	d.mu.Lock()
	asked := d.asked
	d.asked = nil
	for _, a := range asked {
		d.waiting[a.id] = a
	}
	d.mu.Unlock()
	if len(asked) == 0 {
		return nil
	}
	var ids []string
	var parts []int16
	var acts []string
	for _, a := range asked {
		text, err := json.Marshal(a.act)
		if err != nil {
			return err
		}
		ids, parts, acts = append(ids, a.id), append(parts, partOf(a.act)), append(acts, string(text))
	}
	err := d.exec(ctx, `insert into dawk.wish (id, part, act) select i, p, a::jsonb from unnest($1::text[], $2::smallint[], $3::text[]) as u (i, p, a) on conflict do nothing`, ids, parts, acts)
	if err != nil {
		d.mu.Lock()
		for _, a := range asked {
			if d.waiting[a.id] != nil { // or it has given up
				delete(d.waiting, a.id)
				d.asked = append(d.asked, a)
			}
		}
		d.mu.Unlock()
	}
	return err
}

// fetch takes the answers to what we asked.
func (d *Desk) fetch(ctx context.Context) error {
	d.mu.Lock()
	ids := make([]string, 0, len(d.waiting))
	for id := range d.waiting {
		ids = append(ids, id)
	}
	d.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	return d.each(ctx, func(id string, text []byte) {
		var got answer
		if err := json.Unmarshal(text, &got); err != nil {
			got.Error = "its answer cannot be read"
		}
		d.mu.Lock()
		a := d.waiting[id]
		delete(d.waiting, id)
		d.mu.Unlock()
		if a != nil {
			a.answer <- got
		}
	}, `delete from dawk.wish where id = any($1) and answer is not null returning id, answer`, ids)
}

// take begins what others ask of mail that is ours.
func (d *Desk) take(ctx context.Context, group *sync.WaitGroup) error {
	d.mu.Lock()
	room := atOnce - d.working
	d.mu.Unlock()
	if room <= 0 {
		return nil
	}
	return d.each(ctx, func(id string, text []byte) {
		d.mu.Lock()
		d.working++
		d.mu.Unlock()
		group.Go(func() {
			var act Act
			err := json.Unmarshal(text, &act)
			if err == nil {
				err = d.Config.Do(ctx, act)
			}
			d.mu.Lock()
			d.working--
			d.done = append(d.done, finished{id, answerOf(err)})
			d.mu.Unlock()
			d.wake()
		})
	}, `update dawk.wish set taken = true where id in (select id from dawk.wish where part = any($1) and not taken
		and made > clock_timestamp() - $2::interval order by made limit $3 for update skip locked) returning id, act`, d.Parts(), fresh, room)
}

// each gives the rows of a statement, an ID and JSON each, to f.
func (d *Desk) each(ctx context.Context, f func(id string, text []byte), sql string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, query)
	defer cancel()
	rows, err := d.Pool.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	var id string
	var text []byte
	_, err = pgx.ForEachRow(rows, []any{&id, &text}, func() error {
		f(id, append([]byte(nil), text...))
		return nil
	})
	return err
}

// tell writes down what was done for others.
func (d *Desk) tell(ctx context.Context) error {
	d.mu.Lock()
	done := d.done
	d.done = nil
	d.mu.Unlock()
	if len(done) == 0 {
		return nil
	}
	var ids, answers []string
	for _, f := range done {
		text, err := json.Marshal(f.answer)
		if err != nil {
			return err
		}
		ids, answers = append(ids, f.id), append(answers, string(text))
	}
	err := d.exec(ctx, `update dawk.wish w set answer = a::jsonb from unnest($1::text[], $2::text[]) as u (i, a) where w.id = i`, ids, answers)
	if err != nil {
		d.mu.Lock()
		d.done = append(d.done, done...)
		d.mu.Unlock()
	}
	return err
}
