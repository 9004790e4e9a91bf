package admin_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dawk/relay"
	"dawk/relay/admin"
	"dawk/relay/admin/operator"
	"dawk/relay/socket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func path(t testing.TB, s string) relay.Path {
	t.Helper()
	p, err := relay.ParsePath(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// store is a queue in memory and its dispatcher.
type store struct {
	mu      sync.Mutex
	items   []*relay.Item
	content map[relay.QueueID]string
	corrupt error // comes first in Items
	broken  error // ends Items
	room    error
	where   []relay.Where
	turn    relay.Turn
	said    []relay.Transcript
	loads   []relay.ProviderLoad
	acts    []string
	fail    map[relay.QueueID]error
	onAct   func()
	walked  int // items that were read of a walk
}

type memory struct{ *strings.Reader }

func (memory) Close() error { return nil }

func (s *store) Item(id relay.QueueID) (*relay.Item, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.items {
		if i.Message.ID == id {
			return i, nil
		}
	}
	return nil, fmt.Errorf("message %s: %w", id, relay.ErrNotFound)
}

func (s *store) Items(ctx context.Context, after relay.QueueID) iter.Seq2[*relay.Item, error] {
	return func(yield func(*relay.Item, error) bool) {
		if s.corrupt != nil && !yield(nil, s.corrupt) {
			return
		}
		s.mu.Lock()
		items := slices.Clone(s.items)
		s.mu.Unlock()
		for _, i := range items {
			if ctx.Err() != nil {
				yield(nil, ctx.Err())
				return
			}
			if s.walked++; i.Message.ID.Key <= after.Key {
				s.walked--
				continue
			}
			c := *i
			c.Attempts = nil
			if !yield(&c, nil) {
				return
			}
		}
		if s.broken != nil {
			yield(nil, s.broken)
		}
	}
}

func (s *store) Entries() iter.Seq2[relay.Entry, error] {
	return func(yield func(relay.Entry, error) bool) {
		for _, i := range s.items {
			for _, d := range i.Deliveries {
				if !yield(d.Entry, nil) {
					return
				}
			}
		}
	}
}

func (s *store) Content(id relay.QueueID) (relay.Content, error) {
	c, ok := s.content[id]
	if !ok {
		return nil, relay.ErrNotFound
	}
	return memory{strings.NewReader(c)}, nil
}

func (s *store) Room() error { return s.room }

func (s *store) Act(ctx context.Context, id relay.QueueID, verb relay.Verb) error {
	return s.did(id, fmt.Sprintf("%s %s", verb, id))
}

func (s *store) ActOn(ctx context.Context, id relay.QueueID, job uint16, recipients []int, verb relay.Verb) error {
	what := fmt.Sprintf("%s %s/%d", verb, id, job)
	if recipients != nil {
		what += fmt.Sprint(" ", recipients)
	}
	return s.did(id, what)
}

func (s *store) Reroute(_ context.Context, id relay.QueueID, job uint16, recipients []int, route string) error {
	what := fmt.Sprintf("reroute %s/%d to %s", id, job, route)
	if recipients != nil {
		what += fmt.Sprint(" ", recipients)
	}
	return s.did(id, what)
}

func (s *store) did(id relay.QueueID, what string) error {
	if s.onAct != nil {
		s.onAct()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fail[id]; err != nil {
		return err
	}
	s.acts = append(s.acts, what)
	return nil
}

func (s *store) Where(relay.QueueID) []relay.Where { return s.where }

func (s *store) Turn(relay.QueueID, uint16) relay.Turn { return s.turn }

func (s *store) Transcripts(relay.QueueID) []relay.Transcript { return s.said }

func (s *store) Unlisted(context.Context) (map[relay.QueueID][]relay.QueueID, func(), error) {
	return nil, func() {}, nil
}

func (s *store) Withdraw([]relay.QueueID) error { return nil }

func (s *store) Providers() []relay.ProviderLoad { return s.loads }

func (s *store) Toward(destination string) relay.ProviderLoad {
	return relay.ProviderLoad{Name: destination}
}

func (s *store) Queued(destination string) (n int) {
	for _, i := range s.items {
		for _, d := range i.Deliveries {
			if d.Destination == destination {
				n++
			}
		}
	}
	return n
}

func (s *store) NewDraft() (relay.Draft, error)                             { return nil, relay.ErrClosed }
func (s *store) Enqueue(context.Context, relay.Draft, *relay.Message) error { return relay.ErrClosed }
func (s *store) Backlog() relay.Backlog                                     { return relay.Backlog{Total: len(s.items)} }
func (s *store) Underway() []relay.Underway                                 { return nil }
func (s *store) Stats() admin.Stats                                         { return admin.Stats{Deliveries: len(s.items), Held: 1} }

// put adds a message that arrived so long ago, with one Delivery a domain.
func (s *store) put(t testing.TB, n int, old time.Duration, to ...string) *relay.Item {
	t.Helper()
	now := time.Now()
	i := &relay.Item{Message: relay.Message{ID: relay.QueueID{Key: 1_700_000_000_000_000 + uint64(n), Dir: 7}, Arrival: now.Add(-old), Size: 1000, Identity: "app"}}
	i.Message.From = path(t, "sender@example.org")
	for _, r := range to {
		p := path(t, r)
		i.Message.Recipients = append(i.Message.Recipients, relay.Recipient{Path: p})
		at := slices.IndexFunc(i.Deliveries, func(d relay.Delivery) bool { return d.Destination == p.Domain() })
		if at < 0 {
			at = len(i.Deliveries)
			i.Deliveries = append(i.Deliveries, relay.Delivery{Entry: relay.Entry{ID: i.Message.ID, Job: uint16(at),
				Destination: p.Domain(), Identity: "app", Arrival: i.Message.Arrival, Due: now.Add(10 * time.Minute), Attempts: 2}})
		}
		i.Deliveries[at].Open = append(i.Deliveries[at].Open, relay.Open{Recipient: len(i.Message.Recipients) - 1})
	}
	s.items = append(s.items, i)
	return i
}

// serve puts a handler behind a real socket and gives a client for it.
func serve(t *testing.T, c admin.Config) *http.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), admin.SocketName)
	l, err := socket.Listen(path, 0o600, "the command socket", "data_dir")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handlerFor(c)}
	done := make(chan struct{})
	go func() { server.Serve(l); close(done) }()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}
	t.Cleanup(func() { transport.CloseIdleConnections(); server.Close(); <-done })
	return &http.Client{Transport: transport}
}

// handlerFor serves everybody as the administrator.
func handlerFor(c admin.Config) http.Handler {
	return operator.As(operator.Caller{Name: "uid:0", Role: operator.Admin}, admin.NewHandler(c))
}

func newStore() *store {
	return &store{content: map[relay.QueueID]string{}, fail: map[relay.QueueID]error{}}
}

func get(t *testing.T, c *http.Client, path string, query url.Values) (int, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://dawk"+path+"?"+query.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/x-ndjson")
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func decodeLines(t *testing.T, body string) (lines []admin.Line, end *admin.End) {
	t.Helper()
	for s := bufio.NewScanner(strings.NewReader(body)); s.Scan(); {
		var l admin.Line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			t.Fatalf("%s: %v", s.Text(), err)
		}
		if end != nil {
			t.Fatalf("a line after the end: %s", s.Text())
		}
		if l.End != nil {
			end = l.End
		} else {
			lines = append(lines, l)
		}
	}
	return lines, end
}

func act(t *testing.T, c *http.Client, req admin.ActRequest) (int, string) {
	t.Helper()
	b, err := json.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	post, err := http.NewRequest(http.MethodPost, "http://dawk/v1/queue/act", bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	post.Header.Set("Accept", "application/x-ndjson")
	resp, err := c.Do(post)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestListPicksDeliveries(t *testing.T) {
	s := newStore()
	s.put(t, 1, 2*time.Hour, "a@one.test", "b@two.test", "c@two.test")
	s.put(t, 2, time.Minute, "d@two.test")
	c := serve(t, admin.Config{Queue: s, Dispatcher: s})

	for _, x := range []struct {
		filter, limit                    string
		messages, deliveries, recipients int
		more                             bool
	}{
		{"", "", 2, 3, 4, false},
		{"to=@two.test", "", 2, 2, 3, false},
		{"to=@two.test age>1h", "", 1, 1, 2, false},
		{s.items[1].Message.ID.String(), "", 1, 1, 1, false},
		{"to=@three.test", "", 0, 0, 0, false},
		{"", "2", 1, 2, 3, true},
		{"", "1", 1, 2, 3, true}, // a message is not torn apart
		{"", "3", 2, 3, 4, false},
	} {
		status, body := get(t, c, "/v1/queue", url.Values{"filter": {x.filter}, "limit": {x.limit}})
		lines, end := decodeLines(t, body)
		if status != 200 || end == nil {
			t.Errorf("%+v: status %d, no end: %s", x, status, body)
		} else if len(lines) != x.messages || end.Messages != x.messages || end.Deliveries != x.deliveries || end.Recipients != x.recipients || end.More != x.more {
			t.Errorf("%+v: %d lines, %+v", x, len(lines), end)
		}
	}
	if status, body := get(t, c, "/v1/queue", url.Values{"filter": {"agee>1h"}}); status != 400 || !strings.Contains(body, `did you mean`) {
		t.Errorf("a bad filter: %d %s", status, body)
	}
}

func TestListTellsDamageAndFailure(t *testing.T) {
	s := newStore()
	s.put(t, 1, time.Hour, "a@one.test")
	s.corrupt = fmt.Errorf("message X: %w", relay.ErrCorrupt)
	c := serve(t, admin.Config{Queue: s, Dispatcher: s})
	_, body := get(t, c, "/v1/queue", nil)
	lines, end := decodeLines(t, body)
	if len(lines) != 2 || lines[0].Error == "" || end == nil || end.Failed != 1 || end.Messages != 1 {
		t.Errorf("one damaged record must not hide the others: %s", body)
	}

	// A queue that cannot be read to its end gives no End.
	s.broken = errors.New("the disk is gone")
	req, err := http.NewRequest(http.MethodGet, "http://dawk/v1/queue", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/x-ndjson")
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil || bytes.Contains(b, []byte(`"end"`)) {
		t.Errorf("a list that broke off passes for whole: %v, %s", err, b)
	}
}

func TestShowAndContent(t *testing.T) {
	s := newStore()
	i := s.put(t, 1, time.Hour, "a@one.test")
	long := strings.Repeat("x", 9000)
	s.content[i.Message.ID] = "Subject: x\r\nX-Long: " + long + "\r\n\r\nbody\r\n\r\n"
	c := serve(t, admin.Config{Queue: s, Dispatcher: s})
	at := "/v1/queue/" + i.Message.ID.String()

	status, body := get(t, c, at, nil)
	var back relay.Item
	if err := json.Unmarshal([]byte(body), &back); err != nil || status != 200 || back.Message.ID != i.Message.ID {
		t.Errorf("show: %d %s %v", status, body, err)
	}
	if _, body := get(t, c, at+"/content", nil); body != s.content[i.Message.ID] {
		t.Errorf("content: %q", body)
	}
	if _, body := get(t, c, at+"/headers", nil); body != "Subject: x\r\nX-Long: "+long+"\r\n\r\n" {
		t.Errorf("headers: %d octets", len(body))
	}
	if status, body := get(t, c, "/v1/queue/1RK3ZC8Q9D4-7ABC", nil); status != 404 || !strings.Contains(body, "is not in the queue") {
		t.Errorf("unknown: %d %s", status, body)
	}
	if status, body := get(t, c, "/v1/queue/xyz", nil); status != 400 || !strings.Contains(body, "not a queue ID") {
		t.Errorf("no ID: %d %s", status, body)
	}
	if status, body := get(t, c, "/v2/queue", nil); status != 404 || !strings.Contains(body, "versions") {
		t.Errorf("another version: %d %s", status, body)
	}
}

func TestHeadersOfContentWithoutBody(t *testing.T) {
	s := newStore()
	i := s.put(t, 1, time.Hour, "a@one.test")
	c := serve(t, admin.Config{Queue: s, Dispatcher: s})
	for content, want := range map[string]string{"Subject: x\r\n": "Subject: x\r\n", "": "", "\r\nbody\r\n": "\r\n"} {
		s.content[i.Message.ID] = content
		if _, got := get(t, c, "/v1/queue/"+i.Message.ID.String()+"/headers", nil); got != want {
			t.Errorf("%q: %q", content, got)
		}
	}
}

func TestActNeedsToKnowWhat(t *testing.T) {
	s := newStore()
	s.put(t, 1, time.Hour, "a@one.test")
	c := serve(t, admin.Config{Queue: s, Dispatcher: s})
	for _, x := range []struct {
		req  admin.ActRequest
		want string
	}{
		{admin.ActRequest{Verb: relay.VerbDelete}, "--all"},
		{admin.ActRequest{Verb: relay.VerbDelete, Filter: "  "}, "--all"},
		{admin.ActRequest{Verb: relay.VerbHold}, "--all"},
		{admin.ActRequest{Verb: relay.VerbDelete, Filter: "held=true", All: true}, "does not go with a filter"},
		{admin.ActRequest{Verb: "destroy", All: true}, "no verb"},
		{admin.ActRequest{Verb: relay.VerbDelete, Filter: "to=nonsense"}, "@nonsense"},
	} {
		if status, body := act(t, c, x.req); status != 400 || !strings.Contains(body, x.want) {
			t.Errorf("%+v: %d %s", x.req, status, body)
		}
	}
	if len(s.acts) > 0 {
		t.Errorf("something was done: %v", s.acts)
	}
}

func TestActOnWhatTheFilterPicks(t *testing.T) {
	s := newStore()
	one := s.put(t, 1, time.Hour, "a@one.test", "b@two.test").Message.ID
	two := s.put(t, 2, time.Hour, "c@two.test").Message.ID
	gone := s.put(t, 3, time.Hour, "d@two.test").Message.ID
	bad := s.put(t, 4, time.Hour, "e@two.test").Message.ID
	s.fail[gone], s.fail[bad] = relay.ErrNotFound, errors.New("the disk said no")
	c := serve(t, admin.Config{Queue: s, Dispatcher: s})

	req := admin.ActRequest{Verb: relay.VerbHold, Filter: "to=@two.test", DryRun: true}
	_, body := act(t, c, req)
	if lines, end := decodeLines(t, body); len(lines) != 4 || !end.DryRun || end.Deliveries != 4 || len(s.acts) != 0 {
		t.Errorf("dry run: %s; did %v", body, s.acts)
	}

	req.DryRun = false
	_, body = act(t, c, req)
	lines, end := decodeLines(t, body)
	slices.Sort(s.acts)
	// Of the first message only the part for two.test; the second as a whole.
	want := []string{fmt.Sprintf("hold %s/1", one), fmt.Sprintf("hold %s", two)}
	slices.Sort(want)
	if !slices.Equal(s.acts, want) {
		t.Errorf("did %v, want %v", s.acts, want)
	}
	if end.Deliveries != 2 || end.Messages != 2 || end.Gone != 1 || end.Failed != 1 || len(lines) != 3 {
		t.Errorf("%+v, %s", end, body)
	}
}

// With a route for everything all recipients share one Delivery. What ends mail
// ends it for those that were picked, each alone; what only moves its time is
// for all of them.
func TestVerbsThatEndMailPickRecipients(t *testing.T) {
	s := newStore()
	var ids []relay.QueueID
	for n, to := range [][]string{
		{"ann@a.test", "bob@a.test", "eve@a.test"},
		{"ann@a.test"},
		{"bob@a.test", "ann@a.test", "carl@b.test"},
	} {
		ids = append(ids, s.put(t, n, time.Hour, to...).Message.ID)
	}
	names := strings.NewReplacer("#1", ids[0].String(), "#2", ids[1].String(), "#3", ids[2].String())
	c := serve(t, admin.Config{Queue: s, Dispatcher: s})
	for _, x := range []struct {
		verb   relay.Verb
		filter string
		want   []string // done
		to     []string // told
	}{
		{relay.VerbDelete, "to=ann@a.test", []string{"#1/0 [0]", "#2", "#3/0 [1]"}, []string{"ann@a.test", "ann@a.test", "ann@a.test"}},
		{relay.VerbBounce, "to!=ann@a.test", []string{"#1/0 [1 2]", "#3/0 [0]", "#3/1"},
			[]string{"bob@a.test", "eve@a.test", "bob@a.test", "carl@b.test"}},
		{relay.VerbDelete, "to=@a.test", []string{"#1", "#2", "#3/0"}, nil},
		{relay.VerbDelete, "to=bob@a.test code=4xx", nil, nil},
		{relay.VerbHold, "to=eve@a.test", []string{"#1"}, []string{"ann@a.test", "bob@a.test", "eve@a.test"}},
	} {
		for _, dry := range []bool{true, false} {
			s.acts = nil
			_, body := act(t, c, admin.ActRequest{Verb: x.verb, Filter: x.filter, DryRun: dry})
			lines, end := decodeLines(t, body)
			var want, told []string
			for _, w := range x.want {
				want = append(want, string(x.verb)+" "+names.Replace(w))
			}
			for _, l := range lines {
				for _, p := range l.Acted.To {
					told = append(told, p.String())
				}
			}
			slices.Sort(s.acts)
			slices.Sort(told)
			slices.Sort(want)
			slices.Sort(x.to)
			if dry {
				want = nil
			}
			if !slices.Equal(s.acts, want) || x.to != nil && (!slices.Equal(told, x.to) || end.Recipients != len(x.to)) {
				t.Errorf("%s %s, dry %v: did %v, want %v; told %v, %+v", x.verb, x.filter, dry, s.acts, want, told, end)
			}
		}
	}
}

func TestVerbsPassOverWhatTheyDoNotConcern(t *testing.T) {
	s := newStore()
	mixed := s.put(t, 1, time.Hour, "a@one.test", "b@two.test")
	mixed.Deliveries[1].Held = true
	s.put(t, 2, time.Hour, "c@one.test")
	c := serve(t, admin.Config{Queue: s, Dispatcher: s})
	for verb, want := range map[relay.Verb]struct{ done, skipped, acts int }{
		relay.VerbRetry: {2, 1, 2}, relay.VerbHold: {2, 1, 2}, relay.VerbRelease: {1, 2, 1}, relay.VerbDelete: {3, 0, 2},
	} {
		s.acts = nil
		_, body := act(t, c, admin.ActRequest{Verb: verb, All: true})
		if _, end := decodeLines(t, body); end == nil || end.Deliveries != want.done || end.Skipped != want.skipped || len(s.acts) != want.acts {
			t.Errorf("%s: did %v, %+v", verb, s.acts, end)
		}
	}
}

func TestActOnEverythingSparesNewNotices(t *testing.T) {
	s := newStore()
	for n := range 1000 {
		s.put(t, n, time.Hour, "a@one.test")
	}
	notice := s.put(t, 2000, -time.Hour, "sender@example.org")
	notice.Message.Notice = true
	c := serve(t, admin.Config{Queue: s, Dispatcher: s})
	_, body := act(t, c, admin.ActRequest{Verb: relay.VerbBounce, All: true})
	if _, end := decodeLines(t, body); end == nil || end.Messages != 1000 || len(s.acts) != 1000 {
		t.Errorf("%d acts, %+v", len(s.acts), end)
	}
}

// When the client goes away no further act begins.
func TestActStopsWithItsClient(t *testing.T) {
	s := newStore()
	for n := range 5000 {
		s.put(t, n, time.Hour, "a@one.test")
	}
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	s.onAct = func() { cancel(); <-gone }
	served := make(chan struct{})
	h := handlerFor(admin.Config{Queue: s, Dispatcher: s})
	req, err := http.NewRequestWithContext(ctx, "POST", "/v1/queue/act", strings.NewReader(`{"verb":"delete","all":true}`))
	if err != nil {
		t.Fatal(err)
	}
	go func() { h.ServeHTTP(discard{http.Header{}}, req); close(served) }()
	<-ctx.Done()
	close(gone)
	<-served
	if n := len(s.acts); n == 5000 {
		t.Errorf("all %d acts were done for nobody", n)
	}
}

type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

func TestShape(t *testing.T) {
	s := newStore()
	for n := range 150 {
		s.put(t, n, time.Minute, fmt.Sprintf("a@d%d.test", n))
	}
	s.put(t, 1000, 2*time.Hour, "a@big.test").Deliveries[0].Held = true
	s.put(t, 1001, 200*time.Hour, "a@big.test")
	c := serve(t, admin.Config{Queue: s, Dispatcher: s})
	var v admin.Shape
	_, body := get(t, c, "/v1/shape", url.Values{"by": {"dest"}})
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatal(err)
	}
	big := v.Rows[0]
	if big.Name != "big.test" || big.Total != 2 || big.Held != 1 || big.Ages[len(big.Ages)-1] != 1 || big.Ages[3] != 1 {
		t.Errorf("the largest: %+v", big)
	}
	if len(v.Rows) != 100 || v.Others != 51 || v.Rest.Total != 51 || v.Total.Total != 152 || v.Total.Ages[0] != 150 {
		t.Errorf("%d rows, %d others: %+v of %+v", len(v.Rows), v.Others, v.Rest, v.Total)
	}
	v = admin.Shape{}
	_, body = get(t, c, "/v1/shape", url.Values{"by": {"identity"}, "filter": {"to=@big.test"}})
	if err := json.Unmarshal([]byte(body), &v); err != nil || len(v.Rows) != 1 || v.Rows[0].Name != "app" || v.Total.Total != 2 {
		t.Errorf("by identity: %s %v", body, err)
	}
	if status, _ := get(t, c, "/v1/shape", url.Values{"by": {"colour"}}); status != 400 {
		t.Errorf("by colour: %d", status)
	}
}

func TestHealth(t *testing.T) {
	s := newStore()
	var ready error
	c := serve(t, admin.Config{Queue: s, Dispatcher: s, Ready: func() error { return ready },
		Store: func() admin.StoreStats { return admin.StoreStats{Messages: 9, Corrupt: 2} }})
	for _, x := range []struct {
		room, ready error
		status      int
		want        string
	}{
		{nil, nil, 200, `"ok":true`},
		{fmt.Errorf("%w: 3 MiB free", relay.ErrNoSpace), nil, 200, "3 MiB free"},
		{relay.ErrClosed, nil, 503, "takes no mail"},
		{nil, errors.New("the queue is being loaded"), 503, "being loaded"},
	} {
		s.room, ready = x.room, x.ready
		if status, body := get(t, c, "/v1/health", nil); status != x.status || !strings.Contains(body, x.want) || !strings.Contains(body, "2 damaged records") {
			t.Errorf("%v %v: %d %s", x.room, x.ready, status, body)
		}
	}
	if _, body := get(t, c, "/v1/stats", nil); !strings.Contains(body, `"held":1`) || !strings.Contains(body, `"messages":9`) {
		t.Errorf("stats: %s", body)
	}
}

func TestStoreCommands(t *testing.T) {
	s := newStore()
	copied := errors.New("a spool file is missing")
	cfg := admin.Config{Queue: s, Dispatcher: s,
		Verify: func(_ context.Context, progress func(done, total int64)) (admin.Report, error) {
			progress(1000, 9000)
			return admin.Report{Messages: 9000, Problems: []string{"p"}}, nil
		},
		Backup: func(_ context.Context, w io.Writer) error { io.WriteString(w, "copy"); return copied },
	}
	c := serve(t, cfg)
	resp, err := c.Post("http://dawk/v1/store/verify", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	var r admin.Report
	if err := json.NewDecoder(resp.Body).Decode(&r); err != nil || len(r.Problems) != 1 {
		t.Errorf("verify: %+v %v", r, err)
	}
	resp.Body.Close()
	req, err := http.NewRequest(http.MethodPost, "http://dawk/v1/store/verify", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/x-ndjson")
	if resp, err = c.Do(req); err != nil {
		t.Fatal(err)
	}
	var first, last admin.Verifying // in lines: how far it is, then the same report
	lines := json.NewDecoder(resp.Body)
	if err := errors.Join(lines.Decode(&first), lines.Decode(&last)); err != nil || first.Done != 1000 || first.Total != 9000 || first.Report != nil ||
		last.Report == nil || len(last.Report.Problems) != 1 || last.Done != 9000 {
		t.Errorf("verify in lines: %+v, then %+v: %v", first, last, err)
	}
	resp.Body.Close()
	if resp, err = c.Post("http://dawk/v1/store/compact", "", nil); err != nil || resp.StatusCode != 501 {
		t.Errorf("compact is not offered: %v %v", resp, err)
	}
	resp.Body.Close()
	if resp, err = c.Get("http://dawk/v1/store/backup"); err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(b) != "copy" || resp.Trailer.Get(admin.BackupFault) != copied.Error() {
		t.Errorf("backup: %q, trailer %v", b, resp.Trailer)
	}
}
