package main_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"dawk/mx/mxtest"
)

// Commands for scripts about OAuth2 smart hosts.
//
//	token start [google]         a token endpoint by https; sets $TOKENURL, writes ca.pem
//	token client ID SECRET       lets a client in; "" makes it public
//	token refresh TOKEN          lets a refresh token in
//	token rotate [strict]        each refresh brings another refresh token
//	token account FILE           writes the key file of a service account
//	token lifetime DURATION | padding N | claims JSON
//	token problem CODE WORDS N   answers N requests so; 0: all until clear
//	token answer STATUS BODY N | redirect URL N | hang N | delay DURATION N | skew DURATION N | clear
//	token approve                somebody enters the device code
//	token revoke                 ends all access tokens
//	token wait N | atmost N      requests in all
//	smarthost start NAME microsoft365|gmail     sets $VIA; then mx NAME … works on it
//	smarthost start NAME unlimited              Microsoft's, without its limits
//	smarthost start NAME workspace              Google's relay, which wants no login
//	smarthost start NAME certificates           lets in who shows a certificate of the script's CA
//	smarthost start NAME HOST    wants a name and a password, with a certificate for HOST; sets $MXPORT too
//	smarthost certificate NAME CERT KEY [expired]
//	                                     writes such a pair for NAME
//	smarthost exceeded NAME N    how often a limit was exceeded
//	smarthost disconnect NAME now
//	many N FROM TO FILE          submits the message N times; $ID is the last
//	terminal INPUT OUTPUT PROG…  runs PROG at a terminal of its own; its first line of INPUT
//	                             is typed when it asks. [!] as with exec
//	[!] trouble REGEXP           dawk oauth test, dawk check and the log of a relay that starts
//	                             and has mail all say so, in one line
func oauthCommands(all map[string]func(*testscript.TestScript, bool, []string)) map[string]func(*testscript.TestScript, bool, []string) {
	all["token"] = func(ts *testscript.TestScript, _ bool, args []string) { tokenCommand(ts, args) }
	all["many"] = manyCommand
	all["terminal"] = terminalCommand
	all["trouble"] = troubleCommand
	all["smarthost"] = func(ts *testscript.TestScript, _ bool, args []string) { smarthostCommand(ts, args) }
	return all
}

func manyCommand(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 4 {
		ts.Fatalf("usage: many N FROM TO FILE")
	}
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	for range n {
		sendCommand(ts, false, args[1:])
	}
}

// oauthWorld is the providers of one script.
type oauthWorld struct {
	ca     *mxtest.CA
	tokens *mxtest.Tokens
}

var oauthWorlds sync.Map // *testscript.TestScript → *oauthWorld

func oauthWorldOf(ts *testscript.TestScript) *oauthWorld {
	w := &oauthWorld{}
	if old, ok := oauthWorlds.LoadOrStore(ts, w); ok {
		return old.(*oauthWorld)
	}
	var err error
	w.ca, err = mxtest.NewCA()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("ca.pem"), w.ca.PEM(), 0o600))
	ts.Defer(func() {
		oauthWorlds.Delete(ts)
		if w.tokens != nil {
			w.tokens.Close()
		}
	})
	return w
}

func tokenCommand(ts *testscript.TestScript, args []string) {
	w := oauthWorldOf(ts)
	for len(args) < 4 {
		args = append(args, "")
	}
	number := func(s string) int {
		n, err := strconv.Atoi(s)
		ts.Check(err)
		return n
	}
	duration := func(s string) time.Duration {
		d, err := time.ParseDuration(s)
		ts.Check(err)
		return d
	}
	if args[0] == "start" {
		cert, err := w.ca.Certificate(time.Hour, "127.0.0.1")
		ts.Check(err)
		w.tokens, err = mxtest.NewTokens(&cert)
		ts.Check(err)
		w.tokens.Google = args[1] == "google"
		ts.Setenv("TOKENURL", w.tokens.URL())
		return
	}
	t := w.tokens
	change := func(f func()) { t.Change(f) }
	switch args[0] {
	case "client":
		change(func() { t.Clients[args[1]] = args[2] })
	case "refresh":
		change(func() { t.Refresh[args[1]] = true })
	case "rotate":
		change(func() { t.Rotate, t.Strict = true, args[1] == "strict" })
	case "account":
		key, err := t.ServiceAccount()
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), key, 0o600))
	case "lifetime":
		change(func() { t.Lifetime = duration(args[1]) })
	case "claims":
		change(func() { t.Claims = args[1] })
	case "padding":
		change(func() { t.Padding = number(args[1]) })
	case "problem":
		a := mxtest.Problem(args[1], args[2])
		a.Times = number(args[3])
		t.Script(a)
	case "answer":
		body := args[2]
		if body == "huge" {
			body = strings.Repeat("x", 100<<10)
		}
		t.Script(mxtest.Answer{Status: number(args[1]), Body: body, Times: number(args[3])})
	case "redirect":
		t.Script(mxtest.Answer{Status: http.StatusFound, Location: args[1], Times: number(args[2])})
	case "hang":
		t.Script(mxtest.Answer{Hang: true, Times: number(args[1])})
	case "delay":
		t.Script(mxtest.Answer{Delay: duration(args[1]), Times: number(args[2])})
	case "skew":
		a := mxtest.Problem("invalid_grant", "AADSTS700024: Client assertion is not within its valid time range.")
		a.Skew, a.Times = duration(args[1]), number(args[2])
		t.Script(a)
	case "clear":
		t.ClearScript()
	case "approve":
		t.Approve()
	case "revoke":
		t.Revoke()
	case "wait":
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		ts.Check(t.Wait(ctx, number(args[1])))
	case "atmost":
		if n := len(t.Requests()); n > number(args[1]) {
			ts.Fatalf("the token endpoint was asked %d times", n)
		}
	default:
		ts.Fatalf("token %s: no such command", args[0])
	}
}

func smarthostCommand(ts *testscript.TestScript, args []string) {
	w, o := worldOf(ts), oauthWorldOf(ts)
	w.need(args, 3, "smarthost start NAME KIND | exceeded NAME N")
	switch args[0] {
	case "start":
		host := "127.0.0.1"
		if strings.Contains(args[2], ".") {
			host = args[2]
		}
		cert, err := o.ca.Certificate(time.Hour, host)
		ts.Check(err)
		var cfg mxtest.Config
		switch args[2] {
		case host:
			cfg = mxtest.Config{Hostname: host, Users: map[string]string{"office@example.net": "correct horse battery"}}
		case "gmail":
			cfg = mxtest.Gmail(o.tokens.Good)
		case "workspace":
			cfg = mxtest.Gmail(nil)
			cfg.Hostname, cfg.Users = "smtp-relay.gmail.test", nil
		case "certificates":
			cfg = mxtest.Config{Auth: "EXTERNAL", Users: map[string]string{}, ClientCAs: o.ca.Pool()}
		default:
			cfg = mxtest.Microsoft365(o.tokens.Good)
			if args[2] == "unlimited" {
				cfg.PerMinute, cfg.MaxConnections = 0, 0
			}
		}
		cfg.Certificate = &cert
		s, err := mxtest.NewServer(cfg)
		ts.Check(err)
		w.mx[args[1]] = s
		ts.Setenv("VIA", s.Addr())
		if args[2] == host {
			ts.Setenv("MXPORT", strconv.Itoa(s.Port()))
		}
	case "certificate":
		w.need(args, 4, "smarthost certificate NAME CERT KEY")
		validity := time.Hour
		if len(args) > 4 {
			validity = -time.Hour
		}
		pair, err := o.ca.Certificate(validity, args[1])
		ts.Check(err)
		key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(args[2]), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), 0o600))
		ts.Check(os.WriteFile(ts.MkAbs(args[3]), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
	case "disconnect":
		w.mx[args[1]].Disconnect()
	case "exceeded":
		if n := w.mx[args[1]].Exceeded(); strconv.Itoa(n) != args[2] {
			ts.Fatalf("the limits of %s were exceeded %d times", args[1], n)
		}
	default:
		ts.Fatalf("smarthost %s: no such command", args[0])
	}
}
