// Package guard is the protocol-aware connection between a client and an
// unmodified go-smtp server.
//
// It owns the socket: TLS, deadlines, framing, the grammar of commands, and
// the content of messages. go-smtp gets one well-formed command line at a time
// and never an octet of content, so nothing that a client sends can be read in
// two ways:
//
//   - only CRLF ends a command and only CRLF.CRLF ends a message;
//   - after a failure in the middle of anything the connection ends, so that
//     nothing is left to be misread as commands;
//   - MAIL and RCPT are parsed here, strictly, and the session takes the
//     result from [Conn.Mail] and [Conn.Rcpt]: go-smtp sees placeholders;
//   - STARTTLS happens here, and what a client sent before it is forgotten;
//   - the session takes a message off the wire with [Conn.WriteTo], which also
//     sends the 354: a refusal before that is the answer to DATA itself;
//   - replies are edited where go-smtp's differ from the RFCs, and sent in one
//     piece for a group of pipelined commands (RFC 2920 §3.2).
package guard

import (
	"crypto/tls"
	"time"

	"dawk/relay"
)

// Config says how the guard of one listener behaves. The zero value of a limit means no limit; the
// timeouts must be set.
type Config struct {
	Hostname string // in the greeting and in the answer to EHLO
	TLS      *tls.Config
	Implicit bool // TLS from the first octet (RFC 8314 §3.3); else STARTTLS if TLS is set

	MaxSize       int64         // octets of a message, for SIZE (RFC 1870); counting them is the session's work
	MaxRecipients int           // announced by LIMITS (RFC 9422); counting them is the session's work
	RequireTLS    bool          // offer REQUIRETLS (RFC 8689)
	MaxHold       time.Duration // offer FUTURERELEASE up to this (RFC 4865); 0: do not offer it

	CommandTimeout time.Duration // for a whole command line
	DataTimeout    time.Duration // for a body that does not move
	MaxErrors      int           // 5yz replies since the last message, ten times as many after Trust
	MaxCommands    int           // commands but RCPT since the last message

	// Stress says that connections are running out: strangers then have
	// stressTimeout for a command, and one error. Nil: never.
	Stress func() bool

	// Untidy is for clients that are known without a login: it accepts faults that only devices and
	// scripts make. MAIL needs no HELO and HELO no name, and an address may have a name or only one of
	// its brackets.
	Untidy bool
	Domain string // of addresses without one; "": they are refused
	// AnyLineEnd lets the first command without TLS decide whether lines end in CRLF or in LF; all
	// later lines must end in the same way.
	AnyLineEnd bool

	Normalize bool // bare CR and LF in content are repaired, not refused
	Fold      bool // lines of more than 998 octets are passed on to be folded, not refused

	// Refused is called for each refusal that the guard decides by itself. Faults in content are
	// WriteTo's result instead. Reason is one of a closed set, for a metric. Nil: it is not called.
	Refused func(reason string, r relay.Reply)
	// Trace gets each line of the dialogue without its end, not of content.
	// What follows AUTH is masked. Nil: no trace.
	Trace func(fromClient bool, line string)
	// Closed is called once, when the server is done with the connection.
	Closed func()
}

// The reasons given to Config.Refused.
const (
	ReasonSyntax   = "syntax"
	ReasonSequence = "sequence"
	ReasonSize     = "size"     // announced by SIZE
	ReasonLine     = "line"     // bare CR or control characters in a command, or one that is too long
	ReasonLineEnd  = "line_end" // commands that end in LF where they must end in CRLF, or in both
	ReasonReset    = "reset"    // the client broke the connection (RST) before a message was taken
	ReasonTLS      = "tls"      // failed handshakes, plain text behind STARTTLS
	ReasonTimeout  = "timeout"  // of a command
	ReasonErrors   = "errors"   // too many of them
	ReasonShutdown = "shutdown" // we are shutting down
)
