package server

import (
	"errors"
	"log/slog"

	"dawk/cmd/dawk/internal/config"
	"dawk/mx"
	"dawk/relay"
	"dawk/relay/dkim"
	"dawk/relay/sevenbit"
)

// signer makes the DKIM signatures of messages, and converts 8-bit content.
type signer struct {
	cfg     *config.Config
	keys    *dkim.Signer
	routing *mx.Transport
}

func newSigner(cfg *config.Config, log *slog.Logger, routing *mx.Transport) (signer, error) {
	keys, err := dkim.Open(cfg.DKIMKeys(), log)
	return signer{cfg, keys, routing}, err
}

// sign signs a message, unless all its recipients go by routes whose provider
// signs itself.
func (s signer) sign(m *relay.Message, content relay.Content) ([]byte, error) {
	for _, rcpt := range m.Recipients {
		if !s.cfg.Unsigned(s.routing.Destination(m, rcpt.Path)) {
			return s.keys.Sign(m, content)
		}
	}
	return nil, nil
}

// signAnew signs a message whose content was changed for a route.
func (s signer) signAnew(route string, m *relay.Message, content relay.Content) ([]byte, error) {
	if s.cfg.Unsigned(mx.RoutePrefix + route) {
		return nil, nil
	}
	return s.keys.Sign(m, content)
}

// sevenBit converts 8-bit content for a host that takes none, and signs it
// again if it was signed by us: the old signature does not survive.
func (s signer) sevenBit(m *relay.Message, content relay.Content) (relay.Content, error) {
	sign := func(changed relay.Content) ([]byte, error) { return s.keys.Sign(m, changed) }
	return sevenbit.Converter{Dir: s.cfg.DataDir, Owns: s.keys.Owns, Sign: sign}.Convert(content)
}

// hasSevenBit says whether sevenBit can convert it.
func (s signer) hasSevenBit(content relay.Content) bool {
	out, err := sevenbit.Converter{Dir: s.cfg.DataDir}.Convert(content)
	if err == nil {
		out.Close()
	}
	return !errors.Is(err, relay.ErrNotSevenBit)
}
