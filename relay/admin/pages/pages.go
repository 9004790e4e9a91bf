// Package pages shows people the relay in a browser: pages of HTML made by the
// relay, which work without JavaScript; one small script keeps the overview live.
// What they show and do goes through the API of package admin, as the person who has
// logged in: roles are enforced there, and nowhere here.
//
// A form is taken from our own pages alone: browsers say where a request comes from,
// and a form holds a token of the session. What strangers wrote is escaped by
// html/template, and the policy of each answer lets a browser run nothing but our
// script. The package has no goroutines and no locks. Begin reading at New.
package pages

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"dawk/relay/admin"
	"dawk/relay/admin/door"
	"dawk/relay/admin/operator"
	"dawk/relay/httpapi"
)

//go:embed web
var files embed.FS

type pages struct {
	door      *door.Door
	api       http.Handler // of package admin
	hostname  string
	templates *template.Template
}

// New serves every path outside /v1. hostname names the relay in titles.
func New(d *door.Door, api http.Handler, hostname string) http.Handler {
	p := &pages{door: d, api: api, hostname: hostname,
		templates: template.Must(template.New("").Funcs(functions).ParseFS(files, "web/*.html"))}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /style.css", asset("text/css; charset=utf-8", "web/style.css"))
	mux.HandleFunc("GET /live.js", asset("text/javascript; charset=utf-8", "web/live.js"))
	mux.HandleFunc("GET /login", p.loginForm)
	mux.HandleFunc("POST /login", p.login)
	for pattern, serve := range map[string]func(*page) error{
		"GET /{$}": (*page).overview, "GET /live": (*page).live, "GET /queue": (*page).queue, "POST /queue/act": (*page).act,
		"GET /message/{id}": (*page).message, "POST /message/{id}/content": (*page).content, "GET /providers": (*page).providers,
		"GET /webhooks": (*page).webhooks, "POST /webhooks/act": (*page).actOnWebhook, "GET /suppression": (*page).suppression, "POST /suppression/act": (*page).actOnSuppression,
		"GET /senders": (*page).senders, "GET /checks": (*page).checks, "GET /history": (*page).history, "GET /audit": (*page).audit, "POST /logout": (*page).logout,
	} {
		mux.HandleFunc(pattern, p.enter(serve))
	}
	mux.HandleFunc("/", p.enter(func(*page) error {
		return &problem{admin.Problem{Status: http.StatusNotFound, Detail: "There is no such page."}}
	}))
	origin := http.NewCrossOriginProtection()
	origin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.fail(w, r, &problem{admin.Problem{Status: http.StatusForbidden, Detail: "The request comes from another site. Open the page here and try again."}})
	}))
	return httpapi.NotSpare(secured(origin.Handler(mux)))
}

// secured sets what every answer has.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		if r.Method == http.MethodPost {
			r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		}
		next.ServeHTTP(w, r)
	})
}

// maxForm bounds a form, in octets.
const maxForm = 512 << 10

func asset(kind, name string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		b, _ := files.ReadFile(name) // it is embedded
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Connection", "close") // a stranger's
		w.Write(b)
	}
}

// page is one request of somebody who has logged in.
type page struct {
	*pages
	w       http.ResponseWriter
	r       *http.Request
	session *door.Session
}

// problem is why a page cannot be shown, as the API says it.
type problem struct{ admin.Problem }

func (p *problem) Error() string { return p.Detail }

// enter lets people in who have a session, and takes their forms.
func (p *pages) enter(serve func(*page) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s := p.door.Session(r)
		if s == nil {
			w.Header().Set("Connection", "close")
			if r.Method == http.MethodPost && r.URL.Path != "/logout" {
				p.showLogin(w, r, http.StatusUnauthorized, loginData{Fault: "Your session has ended, and nothing was done. Log in and do it again."})
				return
			}
			to := "/login"
			if r.Method == http.MethodGet && r.URL.Path != "/" && r.URL.Path != "/live" {
				to += "?" + url.Values{"to": {r.URL.RequestURI()}}.Encode()
			}
			http.Redirect(w, r, to, http.StatusSeeOther)
			return
		}
		if err := httpapi.Known(r, "operator "+s.Name); err != nil {
			p.fail(w, r, &problem{admin.Problem{Status: http.StatusServiceUnavailable, Detail: err.Error()}})
			return
		}
		if r.Method == http.MethodPost && !s.Sent(r.FormValue("token")) {
			p.fail(w, r, &problem{admin.Problem{Status: http.StatusForbidden, Detail: "The page is stale: open it again and repeat what you did."}})
			return
		}
		if err := serve(&page{pages: p, w: w, r: r, session: s}); err != nil {
			p.fail(w, r, err)
		}
	}
}

// view is what every template is given.
type view struct {
	Title    string
	Hostname string
	Session  *door.Session // nil: nobody has logged in
	Here     string        // the path of the page in the menu
	Data     any
}

// MayAct says whether the person may act on mail.
func (v view) MayAct() bool { return v.Session != nil && v.Session.Role >= operator.Operate }

func (p *page) show(name, title string, data any) error {
	return p.render(p.w, http.StatusOK, name, view{Title: title, Hostname: p.hostname, Session: p.session, Here: p.r.URL.Path, Data: data})
}

func (p *pages) render(w http.ResponseWriter, status int, name string, v view) error {
	var b bytes.Buffer
	if err := p.templates.ExecuteTemplate(&b, name, v); err != nil {
		return fmt.Errorf("make the page: %w", err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b.Bytes())
	return nil
}

func (p *pages) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, bad := http.StatusInternalServerError, (*problem)(nil)
	if errors.As(err, &bad) {
		status = bad.Status
	} else {
		p.door.Log.Error("a page cannot be shown", "path", r.URL.Path, "error", err)
	}
	v := view{Title: http.StatusText(status), Hostname: p.hostname, Session: p.door.Session(r), Data: err.Error()}
	if err := p.render(w, status, "error.html", v); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// answer is what the API says, in memory.
type answer struct {
	bytes.Buffer
	most   int // octets that are kept; 0: all
	header http.Header
	status int
}

// Write passes over what is beyond most.
func (a *answer) Write(b []byte) (int, error) {
	if room := a.most - a.Len(); a.most > 0 && a.status < 400 && len(b) > room {
		a.Buffer.Write(b[:max(0, room)])
		return len(b), nil
	}
	return a.Buffer.Write(b)
}

// Header, WriteHeader: see http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader notes the first status.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// raw is a body that is sent as it is.
type raw string

// ask asks the API as the person; into is nil for octets, of which there are at most
// one more than a page shows. Its error is a problem.
func (p *page) ask(method, path string, query url.Values, body, into any) ([]byte, error) {
	sent, err := json.Marshal(body)
	if text, ok := body.(raw); ok {
		sent = []byte(text)
	}
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(operator.With(p.r.Context(), p.session.Caller), method, path+"?"+query.Encode(), bytes.NewReader(sent))
	if err != nil {
		return nil, err
	}
	a := &answer{header: http.Header{}}
	if into == nil {
		a.most = shownBody + 1
	}
	p.api.ServeHTTP(a, r)
	if a.status >= 400 {
		bad := &problem{}
		if json.Unmarshal(a.Bytes(), &bad.Problem) != nil || bad.Detail == "" {
			return nil, fmt.Errorf("%s answers %d", path, a.status)
		}
		return nil, bad
	}
	if into == nil {
		return a.Bytes(), nil
	}
	return nil, json.Unmarshal(a.Bytes(), into)
}

func (p *page) get(path string, query url.Values, into any) error {
	_, err := p.ask(http.MethodGet, path, query, nil, into)
	return err
}

// offered is whether a part of the relay is there to be asked.
func offered(err error) (bool, error) {
	bad := (*problem)(nil)
	if errors.As(err, &bad) && bad.Status == http.StatusNotImplemented {
		return false, nil
	}
	return err == nil, err
}

type loginData struct{ Name, To, Fault string }

func (p *pages) loginForm(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "close")
	p.showLogin(w, r, http.StatusOK, loginData{To: r.FormValue("to")})
}

func (p *pages) showLogin(w http.ResponseWriter, r *http.Request, status int, d loginData) {
	if err := p.render(w, status, "login.html", view{Title: "Log in", Hostname: p.hostname, Data: d}); err != nil {
		p.fail(w, r, err)
	}
}

func (p *pages) login(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "close")
	name, to := r.PostFormValue("name"), r.PostFormValue("to")
	if err := p.door.Login(w, r, name, r.PostFormValue("password")); err != nil {
		status, said := p.door.Say(err)
		text := said.Error()
		p.showLogin(w, r, status, loginData{Name: name, To: to, Fault: strings.ToUpper(text[:1]) + text[1:] + "."})
		return
	}
	if !ours(to) {
		to = "/"
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// ours says whether a browser that is sent to this place stays here. Browsers take
// a backslash for a slash, and pass over tabs and line ends: url.Parse takes none.
func ours(to string) bool {
	_, err := url.Parse(to)
	return err == nil && strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "//") && !strings.Contains(to, `\`)
}

func (p *page) logout() error {
	p.door.Sessions.End(p.w, p.r)
	http.Redirect(p.w, p.r, "/login", http.StatusSeeOther)
	return nil
}
