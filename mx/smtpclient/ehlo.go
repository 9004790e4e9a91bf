package smtpclient

import (
	"strconv"
	"strings"
)

// Extensions are what a server offered in its reply to EHLO.
type Extensions struct {
	Name string // the server's own name, lower case; "" if it gave none

	pipelining, EightBitMIME, SMTPUTF8, DSN, OffersTLS, RequireTLS bool

	Size    int64 // most octets of a message (RFC 1870); 0: no limit known
	hasSize bool
	auth    []string // mechanisms, upper case
	RcptMax int      // recipients in a transaction (RFC 9422); 0: no limit known
	Domains int      // domains of the recipients in a transaction (RFC 9422); 0: no limit known
	MailMax int      // transactions in a session (RFC 9422); 0: no limit known
}

// parseEHLO reads the lines of a positive reply to EHLO (RFC 5321 §4.1.1.1). Keywords are
// case-insensitive; what cannot be parsed counts as not offered.
func parseEHLO(lines []string) Extensions {
	var e Extensions
	for i, line := range lines {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if i == 0 {
			e.Name = strings.ToLower(strings.TrimSuffix(words[0], "."))
			continue
		}
		key := strings.ToUpper(words[0])
		if mechs, ok := strings.CutPrefix(key, "AUTH="); ok { // the form for clients before RFC 2554
			e.auth = append(e.auth, mechs)
			key = "AUTH"
		}
		e.offer(key, words[1:])
	}
	return e
}

func (e *Extensions) offer(key string, params []string) {
	switch key {
	case "PIPELINING": // RFC 2920
		e.pipelining = true
	case "8BITMIME": // RFC 6152
		e.EightBitMIME = true
	case "SMTPUTF8": // RFC 6531
		e.SMTPUTF8 = true
	case "DSN": // RFC 3461
		e.DSN = true
	case "STARTTLS": // RFC 3207
		e.OffersTLS = true
	case "REQUIRETLS": // RFC 8689
		e.RequireTLS = true
	case "SIZE": // RFC 1870
		e.hasSize = true
		if len(params) > 0 {
			if n, err := strconv.ParseInt(params[0], 10, 64); err == nil && n > 0 {
				e.Size = n
			}
		}
	case "AUTH": // RFC 4954
		for _, p := range params {
			e.auth = append(e.auth, strings.ToUpper(p))
		}
	case "LIMITS": // RFC 9422
		for _, p := range params {
			k, v, _ := strings.Cut(strings.ToUpper(p), "=")
			n, err := strconv.Atoi(v)
			if err != nil || n < 1 || n > 1_000_000 {
				continue
			}
			switch k {
			case "RCPTMAX":
				e.RcptMax = n
			case "RCPTDOMAINMAX":
				e.Domains = n
			case "MAILMAX":
				e.MailMax = n
			}
		}
	}
}
