package check

import (
	"context"
	"errors"

	"dawk/mx/dns"
	"dawk/relay/dkim"
)

// dkim compares each key with the record that should publish it: a signature
// that does not verify is worse than none.
func (c *checker) dkim(ctx context.Context) []Finding {
	keys := c.cfg.DKIMKeys()
	if len(keys) == 0 {
		return nil
	}
	r, err := dns.NewResolver(c.cfg.ResolverConfig())
	if err != nil {
		return nil // told by dns
	}
	var all []Finding
	for _, k := range keys {
		if othersMay(k.File, 0o007) {
			all = append(all, warn("dkim", "chmod 600 "+k.File, "every user of this machine can read the private key in %s", k.File))
		}
		all = append(all, dkimRecord(ctx, r, k))
	}
	return all
}

func dkimRecord(ctx context.Context, r *dns.Resolver, k dkim.Key) Finding {
	k, err := k.Normalize()
	if err != nil {
		return bad("dkim", "", "%v", err)
	}
	private, err := dkim.LoadKey(k.File)
	if err != nil {
		return bad("dkim", "make one with `dawk dkim new`", "the key cannot be used: %v", err)
	}
	name := k.RecordName()
	publish := "publish " + name + ` TXT "` + dkim.Record(private) + `"`
	answer, err := r.LookupTXT(ctx, name)
	switch {
	case dns.Temporary(err):
		return warn("dkim", "try again when DNS answers", "the record %s could not be read: %v", name, err)
	case err != nil:
		return bad("dkim", publish, "the record %s is missing; receivers take our signature for a forgery", name)
	case len(answer.Records) > 1:
		return bad("dkim", "leave the one with our key", "there are %d records at %s, and receivers may take any of them", len(answer.Records), name)
	}
	switch err := dkim.CheckRecord(answer.Records[0], private); {
	case errors.Is(err, dkim.ErrTesting):
		return warn("dkim", "take t=y out of the record", "%s: %v", name, err)
	case err != nil:
		return bad("dkim", publish, "%s: %v; receivers take our signature for a forgery", name, err)
	}
	return good("dkim", "%s publishes the key that we sign %s with", name, k.Domain)
}
