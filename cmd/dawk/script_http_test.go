package main_test

import (
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// userTokenCommand and apiCommand are for scripts about submission over HTTP.
//
//	usertoken NAME                  makes a token for mail and sets $TOKEN to it
//	admintoken NAME [--role …]      makes a token for the API, likewise
//	api STATUS [-token T] [-type CONTENT-TYPE] [-key K] [-tls] [-host H] METHOD PATH [FILE]
//	                                a request to $HTTP; the answer goes to standard
//	                                output, and its id into $ID
//
// Without -token no Authorization is sent.
func userTokenCommand(ts *testscript.TestScript, _ bool, args []string) {
	makeToken(ts, append([]string{"user", "token"}, args...))
}

func adminTokenCommand(ts *testscript.TestScript, _ bool, args []string) {
	makeToken(ts, append([]string{"token", "add"}, args...))
}

func makeToken(ts *testscript.TestScript, args []string) {
	out, err := exec.Command("dawk", append([]string{"-c", ts.Getenv("CONF")}, args...)...).Output()
	ts.Check(err)
	ts.Setenv("TOKEN", strings.TrimSpace(string(out)))
}

var idInAnswer = regexp.MustCompile(`"id":"([^"]+)"`)

func apiCommand(ts *testscript.TestScript, neg bool, args []string) {
	f := flag.NewFlagSet("api", flag.ContinueOnError)
	token, kind, key := f.String("token", "", ""), f.String("type", "application/json", ""), f.String("key", "", "")
	overTLS, host := f.Bool("tls", false, ""), f.String("host", "", "")
	if neg || len(args) < 3 || f.Parse(args[1:]) != nil || f.NArg() < 2 {
		ts.Fatalf("usage: api STATUS [flags] METHOD PATH [FILE]")
	}
	scheme := "http"
	if *overTLS {
		scheme = "https"
	}
	body := ""
	if f.NArg() > 2 {
		body = escapesRaw.Replace(ts.ReadFile(f.Arg(2)))
	}
	req, err := http.NewRequest(f.Arg(0), scheme+"://"+ts.Getenv("HTTP")+f.Arg(1), strings.NewReader(body))
	ts.Check(err)
	req.Host = *host
	req.Header.Set("Content-Type", *kind)
	if *token != "" {
		req.Header.Set("Authorization", "Bearer "+*token)
	}
	if *key != "" {
		req.Header.Set("Idempotency-Key", *key)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	resp, err := client.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	ts.Check(err)
	for _, h := range []string{"Idempotent-Replayed", "Location", "Retry-After"} {
		if v := resp.Header.Get(h); v != "" {
			fmt.Fprintf(ts.Stdout(), "%s: %s\n", h, v)
		}
	}
	fmt.Fprintf(ts.Stdout(), "%s", answer)
	if got := fmt.Sprint(resp.StatusCode); got != args[0] {
		ts.Fatalf("the answer is %s, not %s: %s", got, args[0], answer)
	}
	if m := idInAnswer.FindSubmatch(answer); m != nil {
		ts.Setenv("ID", string(m[1]))
	}
}

// escapesRaw writes what a file of a script cannot hold.
var escapesRaw = strings.NewReplacer(`<CR>`, "\r", `<NUL>`, "\x00")
