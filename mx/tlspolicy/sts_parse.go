package tlspolicy

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"dawk/relay"
)

// Modes of an MTA-STS policy (RFC 8461 §3.2).
const (
	stsEnforce = "enforce"
	stsTesting = "testing"
	ModeNone   = "none"
)

// Bounds of a policy (RFC 8461 §3.2).
const (
	maxPolicySize = 64 << 10
	maxPolicyAge  = 31557600 * time.Second
	maxPatterns   = 1000
)

// STSPolicy is a policy as fetched.
type STSPolicy struct {
	Domain  string        `json:"domain"` // A-labels
	ID      string        `json:"id"`     // of the TXT record that led to it
	Mode    string        `json:"mode"`
	MX      []string      `json:"mx"` // patterns, lower case A-labels
	MaxAge  time.Duration `json:"max_age"`
	Fetched time.Time     `json:"fetched"`
}

// expired says whether the policy no longer counts. One from the future was written before the
// clock was set back: its end cannot be trusted.
func (p *STSPolicy) expired(now time.Time) bool {
	return now.After(p.Fetched.Add(p.MaxAge)) || p.Fetched.After(now.Add(time.Hour))
}

// Allows says whether the policy names an MX host (RFC 8461 §4.1): "*." stands for exactly one
// label.
func (p *STSPolicy) Allows(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	_, parent, _ := strings.Cut(host, ".")
	for _, m := range p.MX {
		if rest, wild := strings.CutPrefix(m, "*."); m == host || wild && parent != "" && rest == parent {
			return true
		}
	}
	return false
}

// lines is the policy as text, for reports (RFC 8460 §4.4).
func (p *STSPolicy) lines() []string {
	out := []string{"version: STSv1", "mode: " + p.Mode}
	for _, m := range p.MX {
		out = append(out, "mx: "+m)
	}
	return append(out, "max_age: "+strconv.FormatInt(int64(p.MaxAge/time.Second), 10))
}

// parseSTSRecord gives the id of the one MTA-STS record among TXT records
// (RFC 8461 §3.1); false: the domain publishes none, or not exactly one.
func parseSTSRecord(records []string) (id string, ok bool) {
	found := ""
	for _, r := range records {
		if version, _, _ := strings.Cut(r, ";"); strings.TrimRight(version, " \t") != "v=STSv1" {
			continue
		}
		if found != "" {
			return "", false
		}
		found = r
	}
	for field := range strings.SplitSeq(found, ";") {
		name, value, _ := strings.Cut(strings.Trim(field, " \t"), "=")
		if strings.TrimRight(name, " \t") == "id" {
			id = strings.TrimLeft(value, " \t")
			break
		}
	}
	if id == "" || len(id) > 32 || strings.Trim(strings.ToLower(id), "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return "", false
	}
	return id, true
}

var errPolicy = errors.New("the policy is not valid (RFC 8461)")

// parseSTSPolicy reads the body of a policy. Unknown fields are ignored; of repeated fields, except
// mx, the first counts (RFC 8461 §3.2).
func parseSTSPolicy(body []byte) (*STSPolicy, error) {
	if len(body) > maxPolicySize {
		return nil, fmt.Errorf("%w: it is longer than 64 KiB", errPolicy)
	}
	p := &STSPolicy{}
	fields := map[string]string{}
	for line := range strings.Lines(string(body)) {
		line = strings.TrimRight(line, "\r\n")
		if strings.Trim(line, " \t") == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		name, value = strings.Trim(name, " \t"), strings.Trim(value, " \t")
		if !ok || name == "" {
			return nil, fmt.Errorf("%w: a line without a colon", errPolicy)
		}
		if name == "mx" {
			pattern, err := parsePattern(value)
			if err != nil || len(p.MX) == maxPatterns {
				return nil, fmt.Errorf("%w: mx: %.80q", errPolicy, value)
			}
			p.MX = append(p.MX, pattern)
		} else if _, again := fields[name]; !again {
			fields[name] = value
		}
	}
	if fields["version"] != "STSv1" {
		return nil, fmt.Errorf("%w: no version: STSv1", errPolicy)
	}
	switch p.Mode = fields["mode"]; p.Mode {
	case stsEnforce, stsTesting, ModeNone:
	default:
		return nil, fmt.Errorf("%w: mode %.80q", errPolicy, p.Mode)
	}
	if p.Mode != ModeNone && len(p.MX) == 0 {
		return nil, fmt.Errorf("%w: no mx", errPolicy)
	}
	age, err := strconv.ParseUint(fields["max_age"], 10, 32)
	if err != nil || len(fields["max_age"]) > 10 {
		return nil, fmt.Errorf("%w: max_age %.80q", errPolicy, fields["max_age"])
	}
	p.MaxAge = min(time.Duration(age)*time.Second, maxPolicyAge)
	return p, nil
}

func parsePattern(s string) (string, error) {
	rest, wild := strings.CutPrefix(s, "*.")
	d, err := relay.NormalizeDomain(rest)
	if err != nil || strings.HasPrefix(d, "[") || strings.Contains(d, "*") {
		return "", errPolicy
	}
	if wild {
		d = "*." + d
	}
	return d, nil
}
