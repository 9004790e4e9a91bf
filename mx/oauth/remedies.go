package oauth

import (
	"encoding/json"
	"strings"

	"dawk/relay/replies"
)

// microsoft says in one sentence what Entra's numbers mean and what to do.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
var microsoft = map[string]string{
	"AADSTS7000215": "the secret is wrong: client_secret_file must hold the secret's Value, not its Secret ID (Entra, App registrations, Certificates & secrets)",
	"AADSTS7000222": "the client secret has expired: make a new one in Entra (App registrations, Certificates & secrets) and put its Value into client_secret_file",
	"AADSTS7000218": "the application is registered as confidential and wants a secret: set client_secret_file, or allow public client flows in Entra (App registrations, Authentication)",
	"AADSTS7000216": "the application has no secret that fits: make one in Entra and put its Value into client_secret_file",
	"AADSTS700016":  "the application is not known in this tenant: check client_id and tenant, both on the Overview page of the App registration",
	"AADSTS90002":   "the tenant does not exist: tenant is the Directory (tenant) ID or a domain of yours",
	"AADSTS900023":  "tenant is neither a tenant ID nor a domain: copy the Directory (tenant) ID from Entra",
	"AADSTS90013":   "the request is not understood: check tenant, client_id and scope",
	"AADSTS900144":  "the request lacks a part: check client_id and scope",
	"AADSTS70011":   "the scope is wrong: leave scope out, its default fits the flow",
	"AADSTS1002012": "client credentials need a scope that ends in /.default: leave scope out",
	"AADSTS500011":  "the scope names a resource that the tenant does not have: leave scope out, and give the tenant an Exchange Online licence",
	"AADSTS65001":   "nobody has consented: in Entra open App registrations, API permissions, and press Grant admin consent",
	"AADSTS650053":  "the application asks for a permission that does not exist: add SMTP.SendAsApp of Office 365 Exchange Online (client credentials) or the delegated SMTP.Send of Microsoft Graph (device code)",
	"AADSTS650057":  "the application lacks the permission: add SMTP.SendAsApp of Office 365 Exchange Online (client credentials) or the delegated SMTP.Send of Microsoft Graph (device code), and grant consent",
	"AADSTS7000112": "the application is disabled: enable it in Entra, Enterprise applications, Properties",
	"AADSTS7000114": "this kind of application may not log in so: register it as described in docs/microsoft365.md",
	"AADSTS500014":  "Exchange Online is disabled for the tenant: give it a licence, or enable the service principal",
	"AADSTS700082":  "the refresh token was not used for too long (90 days): run dawk oauth login once more",
	"AADSTS700084":  "the refresh token came to the end of its fixed life: run dawk oauth login once more, and register no single-page application",
	"AADSTS70008":   "the refresh token has expired or was revoked: run dawk oauth login once more",
	"AADSTS70000":   "the refresh token does not fit: run dawk oauth login once more",
	"AADSTS9002313": "the request or the refresh token is damaged: run dawk oauth login once more",
	"AADSTS50173":   "the password of the account was changed or its sessions were revoked: run dawk oauth login once more",
	"AADSTS50076":   "the tenant asks for a second factor now: run dawk oauth login once more, or use flow = \"client_credentials\", which has none",
	"AADSTS50079":   "the account must set up a second factor: do so, then run dawk oauth login, or use flow = \"client_credentials\"",
	"AADSTS50078":   "the second factor has expired: run dawk oauth login once more, or use flow = \"client_credentials\"",
	"AADSTS50158":   "a conditional access policy asks for more than dawk can give: except the application from it, or use flow = \"client_credentials\"",
	"AADSTS53003":   "a conditional access policy blocks the login: except this application or this machine's address from it",
	"AADSTS530036":  "a conditional access policy forbids device code logins: use flow = \"client_credentials\"",
	"AADSTS50057":   "the account is disabled: enable it in Entra",
	"AADSTS50055":   "the password of the account has expired: change it, then run dawk oauth login",
	"AADSTS50034":   "the account does not exist in this tenant: check tenant and who logged in",
	"AADSTS50105":   "the user is not assigned to the application: assign it in Entra, Enterprise applications, Users and groups",
	"AADSTS50059":   "the tenant cannot be told: set tenant",
	"AADSTS50196":   "Entra has seen too many identical requests of this application and takes none for some minutes: find out who else uses client_id; dawk goes on by itself",
	"AADSTS700024":  "this machine's clock is wrong: set it (NTP)",
	"AADSTS70016":   "the code has not been entered yet",
	"AADSTS70019":   "the code has expired before somebody entered it: run dawk oauth login again",
	"AADSTS70018":   "the code is wrong or has expired: run dawk oauth login again",
	"AADSTS90033":   "Entra is overloaded; dawk asks again",
	"AADSTS90055":   "too many requests at Entra; dawk asks again",
}

// remedy is the sentence for an answer; code is that of RFC 6749.
func (s *Source) remedy(e *Error, code string) string {
	if fix := microsoft[e.Code]; fix != "" {
		return fix
	}
	words := strings.ToLower(e.Words)
	if s.cfg.Provider == replies.ProviderGoogle || s.cfg.Flow == ServiceAccount {
		if fix := find(google, s.cfg.Flow, code, words); fix != "" {
			return fix
		}
	}
	if fix := find(general, s.cfg.Flow, code, words); fix != "" {
		return fix
	}
	if e.Temporary {
		return inTrouble
	}
	return "check token_url, client_id and the permissions of the application"
}

// answer is a possible answer of a token endpoint, and what to do about it. An empty field fits any
// answer.
type answer struct {
	code  string // the error of RFC 6749 §5.2
	words string // part of its description, in lower case
	flow  Flow
	fix   string
}

// find is the remedy of the first line that fits; "" for none.
func find(list []answer, flow Flow, code, words string) string {
	for _, a := range list {
		if (a.code == "" || a.code == code) && (a.flow == "" || a.flow == flow) && strings.Contains(words, a.words) {
			return a.fix
		}
	}
	return ""
}

// general are the answers of RFC 6749 §5.2 and RFC 8628 §3.5.
var general = []answer{
	{code: "invalid_client", fix: "client_id or the secret is wrong"},
	{code: "invalid_grant", flow: DeviceCode, fix: "the refresh token has expired or was revoked: run dawk oauth login once more"},
	{code: "invalid_grant", fix: "the refresh token has expired or was revoked: get a new one and put it into its file"},
	{code: "unauthorized_client", fix: "the application may not use this flow: allow it where the application is registered"},
	{code: "unsupported_grant_type", fix: "the provider does not offer this flow: check flow and token_url"},
	{code: "invalid_scope", fix: "the scope is wrong, or the application was not granted it"},
	{code: "invalid_request", fix: "the provider does not understand the request: check token_url, client_id and scope"},
	{code: "access_denied", fix: "somebody pressed Cancel, or a policy forbids it: run dawk oauth login again"},
	{code: "expired_token", fix: "the code has expired before somebody entered it: run dawk oauth login again"},
	{code: "slow_down", fix: inTrouble},
	{code: "temporarily_unavailable", fix: inTrouble},
	{code: "server_error", fix: inTrouble},
}

// google are the answers of Google, which have no numbers, in the order in which they are tried.
// https://developers.google.com/identity/protocols/oauth2/service-account
var google = []answer{
	{words: "reasonable timeframe", fix: wrongClock},
	{words: "short-lived", fix: wrongClock},
	{words: "invalid jwt signature", fix: "the key of the service account was deleted or belongs to another: make a new JSON key and name it in service_account_file"},
	{words: "account not found", fix: "the service account was deleted: make another, or correct service_account_file"},
	{words: "invalid email or user id", fix: "user is not a mailbox of this Google Workspace: it must be a real user, not an alias or a group"},
	{code: "unauthorized_client", fix: "domain-wide delegation is missing: in the Google Admin console (Security, API controls, Domain-wide delegation) add the service account's client ID with the scope https://mail.google.com/"},
	{code: "invalid_grant", flow: RefreshToken, fix: "the refresh token was revoked, not used for six months, or belongs to an app in testing, whose tokens die after seven days: publish the app (OAuth consent screen), get a new token and put it into refresh_token_file"},
	{code: "invalid_client", fix: wrongClient},
	{code: "deleted_client", fix: wrongClient},
	{code: "admin_policy_enforced", fix: "the Workspace administrator forbids this app: allow it in the Admin console (Security, API controls, App access control)"},
}

const (
	wrongClock  = "this machine's clock is wrong: set it (NTP)"
	inTrouble   = "the provider is in trouble; dawk asks again"
	wrongClient = "client_id or client_secret_file is wrong, or the OAuth client was deleted in the Google console"
)

// parseProblem reads the error of RFC 6749 §5.2 from an answer.
func parseProblem(body []byte) (code, words string) {
	var p struct {
		Code  string `json:"error"`
		Words string `json:"error_description"`
	}
	if json.Unmarshal(body, &p) != nil {
		return "", ""
	}
	return p.Code, p.Words
}
