package smarthost

import (
	"cmp"
	"strings"

	"dawk/relay"
)

// Provider says whose words about logins are explained, and what is known of
// its ways.
type Provider string

// The providers.
const (
	ProviderOther     Provider = ""
	ProviderMicrosoft Provider = "microsoft365"
	ProviderGoogle    Provider = "gmail"
)

// Meaning is what a reply of a smart host is about.
type Meaning uint8

const (
	meansNothing Meaning = iota // the reply stands as it is
	MeansLogin                  // our login or mailbox there: the route is held
	MeansBudget                 // we sent too much: the route waits
	MeansSender                 // this message's sender
	meansLater                  // this message, for now
)

// saying is one thing that smart hosts say.
type saying struct {
	provider Provider // ProviderOther: whoever says so
	code     int      // 0: any
	status   relay.Status
	words    string // lower case, part of the text; "" with a status: any
	means    Meaning
	Remedy   string
}

func status(class, subject, detail int) relay.Status {
	return relay.Status{Class: class, Subject: subject, Detail: detail}
}

// sayings, the first that fits counts. Sources: learn.microsoft.com (SMTP AUTH
// client submission, OAuth for SMTP, sending limits), support.google.com (SMTP
// error reference), and what administrators report of both.
var sayings = []saying{
	{ProviderMicrosoft, 0, relay.Status{}, "smtpclientauthentication is disabled for the tenant", MeansLogin,
		"SMTP AUTH is off for the whole tenant: Set-TransportConfig -SmtpClientAuthenticationDisabled $false, or only for this mailbox: Set-CASMailbox -Identity MAILBOX -SmtpClientAuthenticationDisabled $false"},
	{ProviderMicrosoft, 0, relay.Status{}, "smtpclientauthentication is disabled for the mailbox", MeansLogin,
		"SMTP AUTH is off for this mailbox: Set-CASMailbox -Identity MAILBOX -SmtpClientAuthenticationDisabled $false"},
	{ProviderMicrosoft, 0, relay.Status{}, "security defaults", MeansLogin,
		"security defaults forbid passwords over SMTP: use type = \"microsoft365\" with flow = \"client_credentials\""},
	{ProviderMicrosoft, 0, relay.Status{}, "basic authentication is disabled", MeansLogin,
		"Microsoft takes no passwords here any more: use type = \"microsoft365\" with a flow"},
	{ProviderMicrosoft, 0, status(5, 7, 30), "", MeansLogin,
		"Microsoft takes no passwords here any more: use type = \"microsoft365\" with a flow"},
	{ProviderMicrosoft, 0, status(5, 7, 139), "", MeansLogin,
		"the login is blocked by a setting or a policy: check SMTP AUTH of mailbox and tenant, and conditional access"},
	{ProviderMicrosoft, 0, status(5, 7, 57), "", MeansLogin,
		"the server did not take the login for valid: check the mailbox permission of the application (docs/microsoft365.md, step 4)"},
	{ProviderMicrosoft, 535, status(5, 7, 3), "", MeansLogin,
		"Exchange does not know the application or it has no right to the mailbox: check New-ServicePrincipal with the Object ID from Enterprise applications (not from App registrations), Add-MailboxPermission for user, and SMTP AUTH of the mailbox (docs/microsoft365.md, steps 3 to 5)"},
	{ProviderMicrosoft, 0, status(5, 7, 60), "", MeansSender, sendAsRemedy},
	{ProviderMicrosoft, 0, status(5, 2, 252), "", MeansSender, sendAsRemedy},
	{ProviderMicrosoft, 0, relay.Status{}, "sendasdenied", MeansSender, sendAsRemedy},
	{ProviderMicrosoft, 0, relay.Status{}, "submissionquotaexceeded", MeansBudget, "the mailbox has reached its daily limit of recipients; dawk goes on by itself"},
	{ProviderMicrosoft, 0, status(5, 1, 90), "", MeansBudget, "the mailbox has reached its daily limit of recipients; dawk goes on by itself"},
	{ProviderMicrosoft, 432, relay.Status{}, "", MeansBudget, "more connections or messages at once than Microsoft allows a mailbox; dawk slows down by itself"},
	{ProviderMicrosoft, 0, relay.Status{}, "mailbox logon failure", MeansLogin,
		"Exchange let us in but cannot open the mailbox: mostly the application lacks Add-MailboxPermission for user, or has it for the wrong Object ID, or not in effect yet (docs/microsoft365.md, step 4)"},
	{ProviderMicrosoft, 554, status(5, 2, 2), "storedrv", MeansLogin,
		"the mailbox that sends is full, mostly with its own Sent Items: empty it, or give that folder a retention policy"},

	{ProviderGoogle, 534, relay.Status{}, "", MeansLogin,
		"Google wants an app password or OAuth2 instead of the account's password: use type = \"gmail\" with a flow"},
	{ProviderGoogle, 535, relay.Status{}, "", MeansLogin,
		"user is not the mailbox that the token is for, the scope is not https://mail.google.com/, or IMAP and SMTP are off for the user in the Admin console (docs/gmail.md)"},
	{ProviderGoogle, 0, relay.Status{}, "smtp relay limit exceeded for customer", MeansBudget, "the organisation has reached a limit of Google's relay; dawk goes on by itself"},
	{ProviderGoogle, 0, relay.Status{}, "smtp relay limit exceeded for user", meansLater, "this sender has reached the daily limit of Google's relay; its mail goes on by itself"},
	{ProviderGoogle, 550, relay.Status{}, "invalid credentials for relay", MeansLogin,
		"Google's relay does not know us: add this machine's public address to Apps, Google Workspace, Gmail, Routing, SMTP relay service in the Admin console, and let hostname be a name in one of your domains (docs/gmail.md)"},
	{ProviderGoogle, 550, relay.Status{}, "mail relay denied", MeansLogin,
		"Google's relay does not know us: add this machine's public address to Apps, Google Workspace, Gmail, Routing, SMTP relay service in the Admin console, and let hostname be a name in one of your domains (docs/gmail.md)"},
	{ProviderGoogle, 0, status(5, 4, 5), "", MeansBudget, "the account has reached Google's daily limit of messages; dawk goes on by itself"},
	{ProviderGoogle, 0, relay.Status{}, "daily user sending", MeansBudget, "the account has reached Google's daily limit of messages; dawk goes on by itself"},
	{ProviderGoogle, 421, status(4, 7, 28), "", MeansBudget, "Google limits the rate; dawk slows down by itself"},
	{ProviderGoogle, 0, relay.Status{}, "too many login attempts", MeansBudget, "Google limits the rate of logins; dawk slows down by itself"},

	{ProviderOther, 553, relay.Status{}, "not owned by user", MeansSender, "the account may not send as this From: let the device send as the account's own address, or set rewrite_from of the route"},
	{ProviderOther, 550, relay.Status{}, "not allowed to send as", MeansSender, "the account may not send as this From: let the device send as the account's own address, or set rewrite_from of the route"},
	{ProviderOther, 530, relay.Status{}, "", MeansLogin, "the server forgot the login, or wants another one: check user, auth and the permissions of the account"},
	{ProviderOther, 535, relay.Status{}, "", MeansLogin, "user or secret is wrong; some providers want an app password"},
	{ProviderOther, 534, relay.Status{}, "", MeansLogin, "the account may not log in this way: set auth, or use an app password"},
	{ProviderOther, 538, relay.Status{}, "", MeansLogin, "the server wants TLS before the login: check tls"},
}

const sendAsRemedy = "the mailbox that logs in may not send as this From: give it that right (Add-RecipientPermission FROM -Trustee MAILBOX -AccessRights SendAs), or let the device send as the mailbox itself, or set rewrite_from of the route"

// Find is what a reply at a route with a login means.
func Find(p Provider, r relay.Reply) *saying {
	text := strings.ToLower(r.Text)
	for i := range sayings {
		s := &sayings[i]
		switch {
		case s.provider != ProviderOther && s.provider != p,
			s.code != 0 && s.code != r.Code,
			!s.status.IsZero() && s.status != r.Status,
			!strings.Contains(text, s.words):
			continue
		}
		return s
	}
	return nil
}

// WrongPassword is the remedy for a reply that means another thing to a password
// than to a token; "": it does not.
func WrongPassword(p Provider, r relay.Reply) string {
	switch {
	case p == ProviderMicrosoft && r.Code == 535 && r.Status == status(5, 7, 3):
		return "user or password is wrong, or Microsoft takes no passwords for this mailbox any more: use a flow (docs/microsoft365.md)"
	case p == ProviderGoogle && r.Code == 535:
		return "user or the app password is wrong, or it was revoked; Google does not take the account's own password: make another app password, or use a flow (docs/gmail.md)"
	}
	return ""
}

// Reread gives a reply that a smart host gave to mail the stage that it is
// about: "you are not logged in" is no verdict on the message that met it, and
// neither is "enough for today". What was permanent is so no longer.
func Reread(p Provider, r relay.Reply) (relay.Reply, Meaning) {
	s := Find(p, r)
	if s == nil || r.Code < 400 {
		return r, meansNothing
	}
	r.Remedy = cmp.Or(r.Remedy, s.Remedy)
	switch s.means { // to stages where a 5yz is temporary: see relay.Reply.Permanent
	case MeansLogin:
		r.Stage, r.Cause = relay.StageAuth, relay.CauseLogin
	case MeansBudget, meansLater:
		r.Stage, r.Cause = relay.StageRoute, relay.CauseThrottle
	case MeansSender:
		r.Cause = relay.CauseSender
	}
	return r, s.means
}
