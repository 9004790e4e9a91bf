package guard

import (
	"fmt"
	"strconv"

	"dawk/relay"
)

// reply makes a reply from a status in its written form, so that the code looks like the reply on
// the wire.
func reply(code int, status, text string) *relay.Reply {
	s, ok := relay.ParseStatus(status)
	if !ok && status != "" {
		panic("guard: bad status " + status)
	}
	return &relay.Reply{Code: code, Status: s, Text: text}
}

func unknownParam(key string) *relay.Reply {
	return reply(555, "5.5.4", "parameter "+key+" is not known here")
}

func tooBig(limit int64) *relay.Reply {
	return reply(552, "5.3.4", fmt.Sprintf("the message is larger than the limit of %d octets", limit))
}

// appendReply writes r as one line.
func appendReply(b []byte, r *relay.Reply) []byte {
	b = strconv.AppendInt(b, int64(r.Code), 10)
	b = append(b, ' ')
	if !r.Status.IsZero() {
		b = append(b, r.Status.String()...)
		b = append(b, ' ')
	}
	b = append(b, relay.Sanitize(r.Text)...)
	return append(b, "\r\n"...)
}
