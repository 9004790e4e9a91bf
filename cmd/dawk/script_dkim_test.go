package main_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/rogpeppe/go-internal/testscript"

	"dawk/mx/dns"
)

// dkimVerifyCommand checks the DKIM signatures of the message in FILE by
// another implementation, with the keys that the script's DNS publishes. All
// must hold; it prints the domain and the signed fields of each.
//
//	[!] dkimverify FILE
func dkimVerifyCommand(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: [!] dkimverify FILE")
	}
	r, err := dns.NewResolver(dns.Config{Servers: []string{ts.Getenv("DNS")}})
	ts.Check(err)
	lookup := func(name string) ([]string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		a, err := r.LookupTXT(ctx, name)
		return a.Records, err
	}
	all, err := dkim.VerifyWithOptions(strings.NewReader(ts.ReadFile(args[0])), &dkim.VerifyOptions{LookupTXT: lookup})
	ts.Check(err)
	good := len(all) > 0
	for _, v := range all {
		fmt.Fprintf(ts.Stdout(), "d=%s h=%s err=%v\n", v.Domain, strings.Join(v.HeaderKeys, ":"), v.Err)
		good = good && v.Err == nil
	}
	if good == neg {
		ts.Fatalf("%d signatures, all good: %v", len(all), good)
	}
}
