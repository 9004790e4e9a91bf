package server

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"dawk/cmd/dawk/internal/check"
	"dawk/relay/admin"
	"dawk/relay/admin/api"
	"dawk/relay/admin/door"
	"dawk/relay/admin/operator"
	"dawk/relay/admin/pages"
	"dawk/relay/history"
	"dawk/relay/httpapi"
	"dawk/relay/identity"
	"dawk/relay/socket"
)

// commandSocket is a unix socket on which commands ask the relay.
type commandSocket struct {
	net.Listener
	server *http.Server
}

// listenAdmin opens the sockets for commands: the relay's own, and one for a group.
func (s *Server) listenAdmin() error {
	handler := s.adminHandler()
	open := func(l net.Listener, role operator.Role) {
		s.sockets = append(s.sockets, commandSocket{l, &http.Server{Handler: door.Local(role, handler), ConnContext: door.Peer,
			ReadHeaderTimeout: 10 * time.Second}})
	}
	l, err := socket.Listen(filepath.Join(s.now().cfg.DataDir, admin.SocketName), 0o600, "the command socket", "data_dir")
	if err != nil {
		return err
	}
	open(l, operator.Admin)
	at := s.now().cfg.Admin
	if at.Socket == "" {
		return nil
	}
	group, err := s.now().cfg.AdminGroup()
	if err != nil {
		return fmt.Errorf("admin.group: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(at.Socket), 0o755); err != nil {
		return fmt.Errorf("admin.socket: %w", err)
	}
	if l, err = socket.ListenGroup(at.Socket, 0o660, group, "the socket of [admin]", "admin.socket"); err != nil {
		return fmt.Errorf("admin.socket: %w; the relay must run as root or be a member of the group", err)
	}
	open(l, at.GroupRole)
	s.log.Info("listening", "socket", at.Socket, "for", "commands", "role", at.GroupRole)
	return nil
}

// operatorPaths adds the API and the pages; without operators there are none.
func (s *Server) operatorPaths(mux *http.ServeMux, st *setup, at *httpapi.Door) {
	if st.cfg.Admin.Operators == "" {
		mux.HandleFunc("/v1/", func(w http.ResponseWriter, _ *http.Request) {
			api.Fail(w, http.StatusNotFound, errors.New("there is nothing here: [admin] operators is not set"))
		})
		return
	}
	d := &door.Door{Operators: operator.Open(st.cfg.Admin.Operators), Sessions: s.sessions, Backoff: s.backoff,
		Observer: s.observer, Listener: at.Addr().String(), Log: s.log}
	api := s.adminHandler()
	mux.Handle("/v1/", httpapi.NotSpare(d.Programs(api)))
	mux.Handle("/", pages.New(d, api, st.cfg.Hostname))
}

// past answers GET /v1/history.
func (s *Server) past(filter string, limit int) (admin.PastRecords, error) {
	q, err := history.Terms.Parse(filter, time.Now())
	if err != nil {
		return admin.PastRecords{}, err
	}
	s.records.Flush()
	list, found, more, err := history.Newest(s.now().cfg.HistoryDir(), q, limit)
	return admin.PastRecords{Records: list, Found: found, More: more}, err
}

// identities are the users, with what they have used of their quotas.
func (s *Server) identities() (all []admin.Identity) {
	holds := map[string]admin.UserHold{}
	for _, h := range s.userHolds() {
		holds[h.Name] = h
	}
	sent := s.senders.All()
	var users []*identity.User
	if file := s.now().users; file != nil {
		users = file.List()
	}
	for _, u := range users {
		i := admin.Identity{Name: u.Name, Senders: u.SenderNames(), Quotas: s.ledger.Left(u),
			Messages: sent[u.Name].Messages, Last: sent[u.Name].Last}
		delete(sent, u.Name)
		if h, held := holds[u.Name]; held {
			i.Hold = &h
		}
		all = append(all, i)
	}
	for _, name := range slices.Sorted(maps.Keys(sent)) { // networks and the like
		all = append(all, admin.Identity{Name: name, Messages: sent[name].Messages, Last: sent[name].Last})
	}
	return all
}

// check is what `dawk check` finds, for all who wait for it.
func (s *Server) check() []admin.Finding {
	return check.All(s.running.background, s.now().cfg.File(), nil)
}
