package tlspolicy

import (
	"context"
	"fmt"
	"slices"

	"dawk/mx/dns"
)

// Level is how private a delivery must be. Levels are ordered: DANE, MTA-STS
// and REQUIRETLS raise one, never lower it.
type Level uint8

// The levels.
const (
	LevelDefault       Level = iota // the level of the enclosing configuration
	LevelOff                        // never TLS
	LevelOpportunistic              // TLS with any certificate where offered, else in the clear
	LevelRequired                   // TLS, the certificate unchecked
	LevelVerified                   // TLS, PKIX and the host's name
)

var levelNames = [...]string{"", "off", "opportunistic", "required", "verified"}

// String is the word of the configuration.
func (l Level) String() string { return levelNames[l] }

// ParseLevel reads a word of the configuration; "" is LevelDefault.
func ParseLevel(s string) (Level, error) {
	if i := slices.Index(levelNames[:], s); i >= 0 {
		return Level(i), nil
	}
	return 0, fmt.Errorf("tls level %q is unknown: it is one of off, opportunistic, required, verified", s)
}

// SecuredLookup is what DANE and MTA-STS need from DNS.
type SecuredLookup interface {
	LookupCNAME(ctx context.Context, name string) (dns.Answer[string], error)
	LookupTXT(ctx context.Context, name string) (dns.Answer[string], error)
	LookupTLSA(ctx context.Context, host string, port uint16) (dns.Answer[dns.TLSA], error)
}
