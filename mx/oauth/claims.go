package oauth

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"dawk/relay"
	"dawk/relay/replies"
)

// claims is the content of an access token of Entra (RFC 7519). It is only used to explain a
// refusal: such tokens are meant for the server, and their form may change.
type claims struct {
	Audience string   `json:"aud"`
	Roles    []string `json:"roles"` // application permissions
	Scopes   string   `json:"scp"`   // delegated ones
	App      string   `json:"appid"`
	Object   string   `json:"oid"` // app-only: of the enterprise application
	Person   string   `json:"upn"`
}

// readClaims are the claims of a token; none if it is not a JWT, as with Google.
func readClaims(token string) (c claims) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return claims{}
	}
	body, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil || json.Unmarshal(body, &c) != nil {
		return claims{}
	}
	return c
}

// exchange are the names of Exchange Online as a token's audience.
var exchange = []string{"https://outlook.office365.com", "https://outlook.office.com", "00000002-0000-0ff1-ce00-000000000000"}

var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// Lack is something that a login lacks.
type Lack struct {
	Text   string `json:"text"`             // what is so
	Remedy string `json:"remedy,omitempty"` // what to do about it
}

// Missing says, after Exchange refused a login, what the token lacks or what
// Exchange still has to be told, a sentence each, with the commands and the IDs
// that belong in them. Nil: nothing is known.
func (s *Source) Missing() []Lack {
	s.mu.Lock()
	c := s.claims
	s.mu.Unlock()
	if s.cfg.Provider != replies.ProviderMicrosoft || c.Audience == "" {
		return nil
	}
	var say []Lack
	add := func(remedy, format string, args ...any) {
		say = append(say, Lack{relay.Sanitize(fmt.Sprintf(format, args...)), relay.Sanitize(remedy)})
	}
	if !slices.Contains(exchange, strings.TrimRight(c.Audience, "/")) {
		add("leave scope out of the route", "the token is for %s, not for Exchange Online", c.Audience)
		return say
	}
	if s.cfg.Flow == ClientCredentials {
		s.missingApp(c, add)
	} else {
		s.missingPerson(c, add)
	}
	return say
}

// missingApp is for a login as an application.
func (s *Source) missingApp(c claims, add func(remedy, format string, args ...any)) {
	if !slices.Contains(c.Roles, "SMTP.SendAsApp") {
		has := "none at all"
		if len(c.Roles) > 0 {
			has = "only " + strings.Join(c.Roles, ", ")
		}
		add("in Entra: App registrations, API permissions, Office 365 Exchange Online, Application permissions, SMTP.SendAsApp, then Grant admin consent",
			"the application lacks the permission SMTP.SendAsApp; it has %s", has)
		return
	}
	if !guid.MatchString(c.App) || !guid.MatchString(c.Object) {
		return
	}
	add("", "Entra is done: the token holds SMTP.SendAsApp. What Exchange has to know, in its PowerShell:")
	add("", "  New-ServicePrincipal -AppId %s -ObjectId %s -DisplayName dawk", c.App, c.Object)
	add("", "  Add-MailboxPermission -Identity %s -User %s -AccessRights FullAccess", s.cfg.User, c.Object)
	add("", "  Set-CASMailbox -Identity %s -SmtpClientAuthenticationDisabled $false", s.cfg.User)
	add("", "If these are done already: they take Microsoft half an hour and sometimes more.")
}

// missingPerson is for a login of a person.
func (s *Source) missingPerson(c claims, add func(remedy, format string, args ...any)) {
	if !slices.Contains(strings.Fields(c.Scopes), "SMTP.Send") {
		add("in Entra: App registrations, API permissions, Microsoft Graph, Delegated permissions, SMTP.Send, consent, then dawk oauth login "+s.cfg.Route,
			"the login lacks the permission SMTP.Send; it has %q", c.Scopes)
		return
	}
	if c.Person != "" && !strings.EqualFold(c.Person, s.cfg.User) {
		add(fmt.Sprintf("log in as the mailbox that sends (dawk oauth login %s), or let that person use it: Add-MailboxPermission -Identity %s -User %s -AccessRights FullAccess", s.cfg.Route, s.cfg.User, c.Person),
			"the login is %s's, and user is %s", c.Person, s.cfg.User)
		return
	}
	add("", "Entra is done: the token holds SMTP.Send. What Exchange has to know, in its PowerShell:")
	add("", "  Set-CASMailbox -Identity %s -SmtpClientAuthenticationDisabled $false", s.cfg.User)
}
