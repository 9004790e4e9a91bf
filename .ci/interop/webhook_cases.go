package main

import (
	"context"
	"dawk/.ci/interop/lab"
	"dawk/mx/dial"
	"dawk/relay"
	"dawk/relay/webhook"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// hookSecret is the example of Standard Webhooks.
const hookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// hookReceiver verifies each request with the standard's JavaScript library and its body
// with our schema, and writes a line for each event before it answers.
const hookReceiver = `
const {Webhook} = require("standardwebhooks"), http = require("http"), fs = require("fs");
const [port, secret, file, schema] = process.argv.slice(2), wh = new Webhook(secret);
const ajv = new (require("ajv/dist/2020"))({strict: false});
require("ajv-formats")(ajv);
const s = JSON.parse(fs.readFileSync(schema)), data = s.$defs.event.properties.data;
for (const o of [s.$defs.event, data, data.properties.reply]) o.additionalProperties = false; // every key stands there
const fits = ajv.compile(s);
http.createServer((req, res) => {
  let body = "";
  req.on("data", d => body += d);
  req.on("end", () => {
    try {
      const e = wh.verify(body, req.headers);
      if (!fits(e)) throw new Error("not as the schema says: " + ajv.errorsText(fits.errors) + " " + body);
      const all = e.type === "batch" ? e.data : [e];
      if (e.type !== "batch" && e.data.id !== req.headers["webhook-id"]) throw new Error("webhook-id is not data.id");
      fs.appendFileSync(file, all.map(e => e.data.id + " " + e.data.queue_id + " " + e.type + "\n").join(""));
      res.statusCode = 204;
    } catch (err) {
      fs.appendFileSync(file, "BAD - " + String(err).replace(/\s+/g, "_") + "\n");
      res.statusCode = 400;
    }
    res.end();
  });
}).listen(port, "127.0.0.1", () => console.log("ready"));
`

func webhookCases() []lab.TestCase {
	return []lab.TestCase{
		{Name: "kill -9 under load, verified by the JavaScript library", Run: func(t *lab.T, w *lab.World) { killWithHook(t, w, 1) }},
		{Name: "every kind of event is as the schema says", Run: everyKind},
		{Name: "kill -9 under load, in batches", Run: func(t *lab.T, w *lab.World) { killWithHook(t, w, 100) }},
	}
}

// startHookReceiver gives its URL, the file of its secret and the file of what it was told.
func startHookReceiver(t *lab.T, w *lab.World, name string) (url, secret, told string) {
	lab.Needs(t, "node", "npm")
	dir := filepath.Join(w.Dir, name)
	t.Must("mkdir", os.MkdirAll(dir, 0o755))
	_, err := lab.RunTool(w.Ctx, 3*time.Minute, nil, nil, "npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", dir, "standardwebhooks@1.0.0", "ajv@8.17.1", "ajv-formats@3.0.1")
	t.Must("npm", err)
	script := filepath.Join(dir, "receiver.js")
	told, secret = filepath.Join(dir, "told"), filepath.Join(dir, "secret")
	t.Must("receiver.js", os.WriteFile(script, []byte(hookReceiver), 0o600))
	t.Must("secret", os.WriteFile(secret, []byte(hookSecret+"\n"), 0o644))
	schema, err := filepath.Abs("docs/webhook.schema.json")
	t.Must("the schema", err)
	port := w.FreePort()
	receiver, err := lab.StartProcess(exec.Command("node", script, fmt.Sprint(port), hookSecret, told, schema))
	t.Must("node", err)
	t.Cleanup(receiver.Kill)
	if !lab.Eventually(w.Ctx, lab.Patience, func() bool { return strings.Contains(receiver.Out.String(), "ready") }) {
		t.Fatalf("the receiver does not start:\n%s", receiver.Out.Tail(5))
	}
	return fmt.Sprintf("http://127.0.0.1:%d/", port), secret, told
}

// kinds is an outbox with one event of each kind, bare and with every field.
type kinds []relay.OutboxEvent

func (k kinds) Events(after uint64) iter.Seq2[relay.OutboxEvent, error] {
	return func(yield func(relay.OutboxEvent, error) bool) {
		for _, e := range k[min(after, uint64(len(k))):] {
			if !yield(e, nil) {
				return
			}
		}
	}
}
func (kinds) Last() uint64 { return 0 }
func (kinds) Told(uint64)  {}
func (kinds) Watch(func()) {}

func allKinds(t *lab.T) (all kinds) {
	to, err := relay.ParsePath("reader@example.com")
	t.Must("path", err)
	for _, kind := range relay.OutboxKinds() {
		bare := relay.Event{Kind: kind, Time: time.Now(), Recipient: to}
		full := bare
		full.ID, full.From, full.Identity, full.MessageID, full.Size = relay.QueueID{Key: uint64(len(all) + 1), Dir: 1}, to, "shop", "<1@example.org>", 2048
		full.Reply = relay.Reply{Code: 550, Status: relay.Status{Class: 5, Subject: 1, Detail: 1}, Text: "no such user"}
		full.Reason, full.Host, full.Attempt, full.Next = "bad_address", "mx.example.com", 1, time.Now()
		if kind == relay.EventAccepted {
			bare.Recipient, bare.To, full.Recipient, full.To = relay.Path{}, []relay.Path{to}, relay.Path{}, []relay.Path{to, to}
		}
		for _, e := range []relay.Event{bare, full} {
			n := uint64(len(all) + 1)
			all = append(all, relay.OutboxEvent{Number: n, ID: fmt.Sprint("evt_", n), Event: e})
		}
	}
	return all
}

// everyKind: the receiver takes each body, alone and in batches, and the one of a test.
func everyKind(t *lab.T, w *lab.World) {
	url, secret, told := startHookReceiver(t, w, "webhook-kinds")
	all := allKinds(t)
	own := dial.Web{Dial: (&net.Dialer{}).DialContext}
	own.Addresses.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	for _, batch := range []int{1, 7} {
		hooks, err := webhook.New(webhook.Options{Dir: filepath.Join(w.Dir, fmt.Sprint("webhook-kinds/", batch)), Outbox: all, Log: slog.New(slog.DiscardHandler)},
			[]webhook.Config{{Name: "lab", URL: url, Secrets: webhook.FileSecrets(secret), Batch: batch, Post: webhook.NewPoster(&own)}})
		t.Must("webhooks", err)
		ctx, stop := context.WithCancel(w.Ctx)
		ended := make(chan struct{})
		go func() { defer close(ended); hooks.Run(ctx) }()
		done := lab.Eventually(ctx, lab.Patience, func() bool { s := hooks.List()[0]; return s.Delivered == int64(len(all)) || s.LastError != "" })
		if s := hooks.List()[0]; !done || s.LastError != "" {
			t.Errorf("batch %d: %d of %d taken: %s", batch, s.Delivered, len(all), s.LastError)
		}
		if status, err := hooks.Test(ctx, "lab", time.Now()); err != nil || status != 204 {
			t.Errorf("the test event: %d %v", status, err)
		}
		stop()
		<-ended
	}
	b, err := os.ReadFile(told)
	t.Must("what was told", err)
	if strings.Contains(string(b), "BAD") {
		t.Errorf("%s", b)
	}
	t.Notef("%d bodies of %d kinds fit the schema, alone and in batches", len(all), len(relay.OutboxKinds()))
}

// killWithHook: what was acknowledged is told, each message's events in order, none
// missing, whenever the relay dies.
func killWithHook(t *lab.T, w *lab.World, batch int) {
	url, secret, told := startHookReceiver(t, w, fmt.Sprintf("webhook-%d", batch))
	name := fmt.Sprintf("hook-%d", batch)
	r, s := w.NewCrasher(t, name)
	text, err := os.ReadFile(r.Config())
	t.Must("config", err)
	t.Must("config", r.Write(string(text)+fmt.Sprintf("\n[[webhook]]\nname = \"lab\"\nurl = %q\nsecret_file = %q\nallow_networks = [\"127.0.0.0/8\"]\nretry = [\"1s\"]\nbatch = %d\n",
		url, secret, batch)))
	l := killRelay(t, w, r, s, name, w.Set.Rounds, 2000)
	if !lab.Eventually(w.Ctx, lab.Patience, func() bool {
		out, err := r.Command("", "webhook", "list", "--json")
		return err == nil && strings.Contains(out, `"pending": 0`)
	}) {
		t.Fatalf("events are not told:\n%s", r.Proc.Out.Tail(5))
	}
	events, problems := toldInOrder(t, told)
	for _, id := range l.Queued {
		if !events[id]["accepted"] || !events[id]["relayed"] {
			problems = append(problems, fmt.Sprintf("LOST an event of %s: %v", id, events[id]))
		}
	}
	if len(problems) > 0 {
		t.Errorf("%d problems, e.g. %s", len(problems), problems[0])
	}
	t.Notef("%d acknowledged, events of %d messages told", len(l.Queued), len(events))
}

// toldInOrder reads what the receiver wrote: each event's first time must follow that of those before it.
func toldInOrder(t *lab.T, path string) (events map[string]map[string]bool, problems []string) {
	b, err := os.ReadFile(path)
	t.Must("what was told", err)
	events, seen, last := map[string]map[string]bool{}, map[string]bool{}, map[string]string{}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] == "BAD" {
			problems = append(problems, line)
			continue
		}
		if seen[f[0]] {
			continue
		}
		if f[0] < last[f[1]] { // IDs grow
			problems = append(problems, fmt.Sprintf("%s of %s came after %s", f[0], f[1], last[f[1]]))
		}
		if events[f[1]] == nil {
			events[f[1]] = map[string]bool{}
		}
		seen[f[0]], last[f[1]], events[f[1]][f[2]] = true, f[0], true
	}
	return events, problems
}
