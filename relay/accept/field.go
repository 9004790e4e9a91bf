package accept

import (
	"bytes"
	"slices"
	"strings"

	"dawk/relay/mailtext"
)

// endField decides about the field that has ended, and passes it on. Its error
// is a refusal, or that of the draft.
func (s *scanner) endField() error {
	raw := s.field
	s.field = s.field[:0]
	if len(raw) == 0 {
		return nil
	}
	name, value, _ := mailtext.SplitField(raw)
	if s.domain != "" && mailtext.IsAddressField(name) {
		if done := mailtext.Complete(value, s.domain); len(done) > len(value) {
			raw = slices.Concat(raw[:len(raw)-len(value)], done)
			value = raw[len(raw)-len(done):]
		}
	}
	signed := s.hdr.signed // before this field
	leaves, err := s.look(name, value)
	if err != nil || leaves == "" {
		return err
	}
	if leaves != name {
		raw = slices.Concat([]byte(leaves), []byte(":"), value)
	}
	if !s.hdr.eightBit {
		s.hdr.eightBit = has8Bit(raw)
	}
	folded := mailtext.FoldField(raw)
	if signed && len(folded) != len(raw) {
		return longSigned()
	}
	return s.pass(folded)
}

// look takes from a field what acceptance wants to know, and gives the name
// under which it leaves; "": it does not. A field that every message must have
// and that is empty counts as missing.
func (s *scanner) look(name string, value []byte) (leaves string, err error) {
	if s.user != nil && !s.noFrom(name, value) {
		if author := s.authorField(name); author != "" {
			if err := mayStand(s.user, author, value); err != nil {
				return "", err
			}
		}
	}
	switch strings.ToLower(name) {
	case "received":
		s.hdr.received++
		if s.maxHops > 0 && s.hdr.received > s.maxHops {
			return "", Refuse(ReasonLoop, 554, "5.4.6", "the message has passed more than %d relays: it goes round in a loop", s.maxHops)
		}
	case "from":
		return s.lookAtFrom(name, value)
	case "reply-to":
		s.hdr.replyTo = true
	case "sender":
		if s.keepFrom {
			return "X-Original-Sender", nil
		}
	case "subject":
		if s.text != nil {
			s.text.Write(value)
		}
	case "date":
		if empty(value) {
			return "", nil
		}
		s.hdr.date = true
	case "message-id":
		if empty(value) {
			return "", nil
		}
		if !s.hdr.hasID {
			s.hdr.hasID, s.hdr.messageID = true, bytes.Clone(value)
		}
	case "dkim-signature":
		s.hdr.signed = true
	case "content-type":
		s.hdr.signed = s.hdr.signed || bytes.Contains(bytes.ToLower(value), []byte("multipart/signed"))
	case "tls-required":
		s.hdr.tlsNo = strings.EqualFold(string(bytes.TrimSpace(value)), "No")
	case "bcc", "resent-bcc", // RFC 5322 §3.6.3
		"return-path": // RFC 5321 §4.4: only final delivery adds it
		return "", nil
	}
	return name, nil
}

// noFrom says whether a field is a From that names nobody, where one is added.
func (s *scanner) noFrom(name string, value []byte) bool {
	return s.addFrom && strings.EqualFold(name, "From") && len(mailtext.Addresses(string(value))) == 0
}

// lookAtFrom is look for From.
func (s *scanner) lookAtFrom(name string, value []byte) (leaves string, err error) {
	if s.noFrom(name, value) {
		if empty(value) {
			return "", nil
		}
		return "X-Original-From", nil // a name without an address
	}
	if s.hdr.from++; s.hdr.from > 1 {
		return "", Refuse(ReasonHeader, 550, "5.6.0", "the message has more than one From field (RFC 5322 section 3.6)")
	}
	if s.keepFrom {
		s.hdr.fromValue = bytes.Clone(value)
		return "X-Original-From", nil
	}
	return name, nil
}

// empty says whether a field has no value: nothing, or brackets around nothing.
func empty(value []byte) bool { return len(bytes.Trim(value, " \t\r\n<>")) == 0 }
