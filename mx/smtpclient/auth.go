package smtpclient

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"dawk/relay"
	"dawk/relay/replies"
)

// Credential is a secret of a route's login that may change: a password in a file, or an OAuth2
// access token.
type Credential interface {
	// Token returns the secret that is valid now. Its error is a sentence for people, without any
	// secret.
	Token(ctx context.Context) (string, error)
	// Refused reports that the server refused it; again says that a new one may be accepted, so one
	// more login is worth a try.
	Refused(token string) (again bool)
}

// The mechanisms of a route's login, as the configuration writes them. With
// AuthAuto the host's offer decides.
const (
	AuthAuto        = ""
	AuthPlain       = "plain"         // RFC 4616
	AuthLogin       = "login"         // never a standard, but widely supported
	AuthSCRAM       = "scram-sha-256" // RFC 7677
	AuthExternal    = "external"      // RFC 4422 appendix A
	AuthXOAuth2     = "xoauth2"       // https://developers.google.com/workspace/gmail/imap/xoauth2-protocol
	AuthOAuthBearer = "oauthbearer"   // RFC 7628
)

var (
	passwordMechanisms = []string{AuthPlain, AuthLogin, AuthSCRAM} // what is tried first comes first
	tokenMechanisms    = []string{AuthXOAuth2, AuthOAuthBearer}
)

// TokenMechanism says whether a mechanism needs an access token.
func TokenMechanism(auth string) bool { return slices.Contains(tokenMechanisms, auth) }

// ValidAuth says whether auth is a mechanism of the configuration.
func ValidAuth(auth string) bool {
	return auth == AuthAuto || auth == AuthExternal || TokenMechanism(auth) || slices.Contains(passwordMechanisms, auth)
}

const (
	// maxAuthLine is the longest AUTH command line with CRLF (RFC 5321
	// §4.5.3.1.4): a longer initial response follows the 334 (RFC 4954 §4).
	maxAuthLine = 512
	// maxAuthResponse is the longest response to a 334 (RFC 4954 §4.5).
	maxAuthResponse = 12288
)

// mechanism is a client's side of one login: initial is its first response,
// more answers each challenge after that.
type mechanism struct {
	name      string
	initial   string
	noInitial bool // the server speaks first
	more      func(challenge string) (string, error)
	finished  func() error // of a mechanism that checks the server too
	problem   string       // what the server said about a token, in its 334
}

// Login is what AUTH needs.
type Login struct {
	User     string
	Password string // or token
	Token    bool   // it is an OAuth2 access token
	Auth     string // the mechanism; AuthAuto: what the host offers
	Provider replies.Provider
}

// LogsIn says whether the session sends AUTH; EXTERNAL needs no name for that.
func (p Login) LogsIn() bool { return p.User != "" || p.Auth == AuthExternal }

// LogIn sends AUTH, if there is a login. checked: the certificate was verified, so the host is the
// one that the secret is for.
func (c *Conn) LogIn(p Login, checked bool) relay.Reply {
	if !p.LogsIn() {
		return relay.Reply{}
	}
	c.at(relay.StageAuth)
	no := func(format string, args ...any) relay.Reply {
		return c.Named(relay.Failure(relay.StageAuth, StatusNoLogin, format, args...))
	}
	if !checked && !c.Peer.local() {
		return no("the password is not sent to %s, whose certificate was not checked", c.Peer)
	}
	name, err := c.chooseMechanism(p)
	if err != nil {
		return no("%v", err)
	}
	m := c.mechanism(name, p)
	r, err := c.converse(m)
	// RFC 4954 §4: 504 is about the mechanism, which the host offered all the same.
	for err == nil && r.Code == 504 && p.Auth == AuthAuto {
		c.Ext.auth = slices.DeleteFunc(c.Ext.auth, func(auth string) bool { return auth == m.name })
		next, none := c.chooseMechanism(p)
		if none != nil {
			break // the host's own text tells more
		}
		m = c.mechanism(next, p)
		r, err = c.converse(m)
	}
	if errors.Is(err, errMechanism) {
		c.Dead = true
		return no("%v", err)
	}
	if err != nil {
		return c.Failure(relay.StageAuth, "logging in", err)
	}
	if r.Class() == 2 {
		return relay.Reply{}
	}
	reply := c.Named(asFailure(r.Reply(relay.StageAuth)))
	if m.problem != "" {
		reply.Text = relay.Sanitize(reply.Text + " " + m.problem)
	}
	reply.Cause = relay.CauseLogin
	if reply.Code != 0 {
		reply.Remedy = replies.Account(p.Provider, !p.Token, reply).Remedy
	}
	return reply
}

// mechanism is our side of the login of that name.
func (c *Conn) mechanism(name string, p Login) *mechanism {
	switch name {
	case AuthLogin:
		return loginMechanism(p.User, p.Password)
	case AuthExternal:
		return &mechanism{name: "EXTERNAL", initial: p.User} // "": the owner of the certificate (RFC 4422 appendix A.1)
	case AuthSCRAM:
		return scramMechanism(p.User, p.Password)
	case AuthXOAuth2:
		return tokenMechanism("XOAUTH2", "user="+p.User+"\x01auth=Bearer "+p.Password+"\x01\x01", "")
	case AuthOAuthBearer:
		// RFC 7628 §3.2.3: a lone ^A asks for the verdict.
		return tokenMechanism("OAUTHBEARER", "n,a="+saslName(p.User)+",\x01host="+c.Peer.Host+"\x01port="+
			strconv.Itoa(int(c.Peer.Addr.Port()))+"\x01auth=Bearer "+p.Password+"\x01\x01", "\x01")
	}
	return &mechanism{name: "PLAIN", initial: "\x00" + p.User + "\x00" + p.Password}
}

// tokenMechanism sends a token; the server says in a 334 what is wrong with it, and gives its
// verdict after our answer to that.
func tokenMechanism(name, initial, answer string) *mechanism {
	m := &mechanism{name: name, initial: initial}
	m.more = func(blob string) (string, error) { m.problem = describeBlob(blob); return answer, nil }
	return m
}

// errMechanism: the server does not keep to the mechanism.
var errMechanism = errors.New("the login broke off")

// converse runs a mechanism (RFC 4954 §4). The reply is final.
func (c *Conn) converse(m *mechanism) (WireReply, error) {
	line := "AUTH " + m.name
	shown := line
	first := !m.noInitial // the next response is the initial one
	heeded := m.noInitial // there is none that the server could have ignored
	if !m.noInitial {
		initial := encode64(m.initial)
		if initial == "" {
			initial = "=" // RFC 4954 §4: an empty one
		}
		if len(line)+1+len(initial)+2 <= maxAuthLine {
			line, shown, first = line+" "+initial, line+" (a secret, not kept)", false
		} else if len(initial)+2 > maxAuthResponse {
			return WireReply{}, fmt.Errorf("%w: the token has %d octets, more than SMTP can carry (RFC 4954)", errMechanism, len(initial))
		}
	}
	r, err := c.ask(line, shown, c.Limits.Command)
	for rounds := 0; err == nil && r.Code == 334; rounds++ {
		response := m.initial
		prompt := strings.TrimSpace(strings.Join(r.Lines, ""))
		challenge, bad := base64.StdEncoding.DecodeString(prompt)
		if bad != nil {
			challenge = []byte(prompt) // most mechanisms ignore its text
		}
		switch {
		case rounds == 4:
			return WireReply{}, fmt.Errorf("%w: the server asks without end", errMechanism)
		case first, !heeded && (m.more == nil || prompt == ""):
			// The first response is asked for, perhaps again although it was sent with AUTH.
			first, heeded = false, true
		case m.more == nil:
			return WireReply{}, fmt.Errorf("%w: the server wants more than %s has", errMechanism, m.name)
		default:
			heeded = true
			if response, err = m.more(string(challenge)); err != nil {
				return WireReply{}, fmt.Errorf("%w: %w", errMechanism, err)
			}
		}
		r, err = c.ask(encode64(response), "(a secret, not kept)", c.Limits.Command)
	}
	if err == nil && r.Class() == 2 && m.finished != nil {
		if bad := m.finished(); bad != nil {
			return WireReply{}, fmt.Errorf("%w: %w", errMechanism, bad)
		}
	}
	return r, err
}

func encode64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// chooseMechanism is the route's own, or the first that the host offers.
func (c *Conn) chooseMechanism(p Login) (string, error) {
	offers := func(auth string) bool { return slices.Contains(c.Ext.auth, strings.ToUpper(auth)) }
	if len(c.Ext.auth) == 0 {
		return "", errors.New("the server offers no login (AUTH), and the route has a user")
	}
	mine := passwordMechanisms
	if p.Token {
		mine = tokenMechanisms
	}
	if p.Auth != AuthAuto {
		mine = []string{p.Auth}
	}
	for _, auth := range mine {
		if offers(auth) {
			return auth, nil
		}
	}
	theirs := strings.Join(c.Ext.auth, " ")
	switch {
	case p.Auth != AuthAuto:
		return "", fmt.Errorf("the server does not offer auth = %q, but only: %s", p.Auth, theirs)
	case !p.Token && (offers(AuthXOAuth2) || offers(AuthOAuthBearer)):
		return "", fmt.Errorf("the server takes no password any more, only OAuth2 (%s): set `type` and `flow` of the route", theirs)
	}
	return "", fmt.Errorf("the server offers only logins that do not fit: %s", theirs)
}

// loginMechanism answers each question, in whichever order they come.
func loginMechanism(user, password string) *mechanism {
	asked := 0
	return &mechanism{name: "LOGIN", noInitial: true, more: func(string) (string, error) {
		asked++
		switch asked {
		case 1:
			return user, nil
		case 2:
			return password, nil
		}
		return "", errors.New("the server asks for more than name and password")
	}}
}

// saslName escapes a name (RFC 5801 §4).
func saslName(s string) string {
	return strings.NewReplacer("=", "=3D", ",", "=2C").Replace(s)
}

// describeBlob decodes the JSON with which a server refuses a token.
func describeBlob(blob string) string {
	var b struct {
		Status string `json:"status"`
		Scope  string `json:"scope"`
	}
	if json.Unmarshal([]byte(blob), &b) != nil || b.Status == "" {
		return ""
	}
	s := "(the server says status " + b.Status
	if b.Scope != "" {
		s += ", scope " + b.Scope
	}
	if s = relay.Sanitize(s); len(s) > 200 {
		s = s[:200]
	}
	return s + ")"
}
