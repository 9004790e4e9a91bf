package relay

import "strings"

// Envelope is the envelope of a mail object (RFC 5321 §2.3.1) with what the
// extensions add to MAIL and RCPT.
type Envelope struct {
	From       Path        `json:"from"`
	Recipients []Recipient `json:"recipients"`

	Body       BodyType `json:"body,omitempty"`       // RFC 6152 BODY=, as declared
	SMTPUTF8   bool     `json:"smtputf8,omitempty"`   // RFC 6531 §3.4, as declared
	RequireTLS bool     `json:"requiretls,omitempty"` // RFC 8689
	EnvID      string   `json:"envid,omitempty"`      // RFC 3461 §4.4, decoded from xtext
	Ret        Ret      `json:"ret,omitempty"`        // RFC 3461 §4.3
}

// BodyType is the BODY parameter of RFC 6152; "" when it was not given.
type BodyType string

// The body types that we accept.
const (
	Body7Bit     BodyType = "7BIT"
	Body8BitMIME BodyType = "8BITMIME"
)

// Ret is the RET parameter: what of the message a failure notice returns.
type Ret string

// The values of RFC 3461 §4.3; "" leaves the choice to us.
const (
	RetFull Ret = "FULL"
	RetHdrs Ret = "HDRS"
)

// Recipient is one forward-path with the parameters of its RCPT command.
type Recipient struct {
	Path   Path   `json:"path"`
	ORcpt  ORcpt  `json:"orcpt,omitzero"`
	Notify Notify `json:"notify,omitempty"`
}

// ORcpt is the ORCPT parameter (RFC 3461 §4.2, RFC 6533 §3): the recipient as
// the original sender wrote it. The zero value: not given.
type ORcpt struct {
	Type string `json:"type"` // "rfc822" or "utf-8", lower case
	Addr string `json:"addr"` // decoded; no control characters
}

// IsZero says whether ORCPT was not given.
func (o ORcpt) IsZero() bool { return o == ORcpt{} }

// Notify is the NOTIFY parameter (RFC 3461 §4.1), a set. The zero value: not
// given, which means failure and, at our discretion, delay.
type Notify uint8

// The members of the set; NotifyNever stands alone.
const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

var notifyNames = [...]string{"NEVER", "SUCCESS", "FAILURE", "DELAY"}

// Failure says whether the sender wants to hear of failure.
func (n Notify) Failure() bool { return n == 0 || n&NotifyFailure != 0 }

// Delay says whether the sender wants to hear of delay (RFC 3461 §4.1: when
// NOTIFY is absent we may, and do).
func (n Notify) Delay() bool { return n == 0 || n&NotifyDelay != 0 }

// Success says whether the sender wants to hear of success.
func (n Notify) Success() bool { return n&NotifySuccess != 0 }

// String is the value as it goes on the wire, "" when not given.
func (n Notify) String() string {
	var parts []string
	for i, name := range notifyNames {
		if n&(1<<i) != 0 {
			parts = append(parts, name)
		}
	}
	return strings.Join(parts, ",")
}

// ParseNotify reads the value of NOTIFY. NEVER allows no other beside it.
func ParseNotify(s string) (n Notify, ok bool) {
next:
	for part := range strings.SplitSeq(s, ",") {
		for i, name := range notifyNames {
			if strings.EqualFold(part, name) {
				n |= 1 << i
				continue next
			}
		}
		return 0, false
	}
	return n, n&NotifyNever == 0 || n == NotifyNever
}

// MarshalText and UnmarshalText use the form of String.
func (n Notify) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText is ParseNotify, with "" for not given.
func (n *Notify) UnmarshalText(b []byte) error {
	v, ok := ParseNotify(string(b))
	if len(b) > 0 && !ok {
		return ErrPathSyntax
	}
	*n = v
	return nil
}
