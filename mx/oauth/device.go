package oauth

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/oauth2"
)

// Prompt says what a person has to do in a browser.
type Prompt struct {
	URI     string    // to open in any browser
	Code    string    // to enter there
	Expires time.Time // zero: the provider did not say
}

// Login walks through the device code flow (RFC 8628): show is called with
// what the person is to do, then Login waits until it is done, and stores the
// refresh token. Errors are *Error.
func (s *Source) Login(ctx context.Context, show func(Prompt)) error {
	if s.cfg.Flow != DeviceCode {
		return fmt.Errorf("route %q has flow = %q, which needs no login: its secret is in a file; try dawk oauth test", s.cfg.Route, s.cfg.Flow)
	}
	r := s.newRequest()
	ctx = r.in(ctx)
	c, err := s.config(r)
	if err != nil {
		return err
	}
	asked, err := c.DeviceAuth(ctx)
	if err != nil {
		return s.explain(r, err)
	}
	if asked.DeviceCode == "" || asked.UserCode == "" || asked.VerificationURI == "" {
		return &Error{Words: "the device endpoint's answer has no code", Fix: "check tenant and token_url"}
	}
	r.hide(asked.DeviceCode)
	show(Prompt{URI: asked.VerificationURI, Code: asked.UserCode, Expires: asked.Expiry})
	tok, err := c.DeviceAccessToken(ctx, asked)
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("log in at route %q: %w", s.cfg.Route, context.Cause(ctx))
	case err != nil:
		return s.explain(r, err)
	}
	return s.take(tok)
}

// take stores the token of a login.
func (s *Source) take(tok *oauth2.Token) error {
	if tok.RefreshToken == "" {
		return &Error{Words: "the provider gave no refresh token", Fix: "the scope must hold offline_access"}
	}
	if err := s.keep(kept{Refresh: tok.RefreshToken, At: time.Now().UTC()}); err != nil {
		return &Error{Words: err.Error(), Fix: "run the command as the user that dawk runs as"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got(accessOf(tok, time.Now()))
	return nil
}
