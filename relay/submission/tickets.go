package submission

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"dawk/relay/durable"
)

// Tickets are the keys with which clients resume TLS sessions, for all listeners, also after a
// restart or a change of the configuration. Each key encrypts for a day, and is kept for another
// day to decrypt. Whoever has the file and a recording of the traffic can read two days of TLS 1.2
// sessions. It is safe for concurrent use.
type Tickets struct {
	file string
	log  *slog.Logger

	mu   sync.Mutex
	keys []ticketKey // newest first
	set  bool        // they are in box
	box  tls.Config
}

type ticketKey struct {
	Made   time.Time `json:"made"`
	Secret []byte    `json:"secret"`
}

const (
	ticketKeyLife = 24 * time.Hour
	ticketKeys    = 2
)

// OpenTickets reads the file, which is made when the first session begins. A file that cannot be
// read is replaced, and costs clients one full handshake.
func OpenTickets(file string, log *slog.Logger) *Tickets {
	t := &Tickets{file: file, log: log}
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.NewDecoder(bytes.NewReader(b)).Decode(&t.keys)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("the keys of TLS sessions cannot be read; they are replaced by new ones", "file", file, "error", err)
		t.keys = nil
	}
	return t
}

// use makes cfg resume sessions by these keys.
func (t *Tickets) use(cfg *tls.Config) {
	cfg.WrapSession = func(c tls.ConnectionState, s *tls.SessionState) ([]byte, error) {
		t.renew(time.Now())
		return t.box.EncryptTicket(c, s)
	}
	cfg.UnwrapSession = func(ticket []byte, c tls.ConnectionState) (*tls.SessionState, error) {
		t.renew(time.Now())
		return t.box.DecryptTicket(ticket, c)
	}
	t.renew(time.Now())
}

// renew makes a new key when the newest is too old, or made in the future.
func (t *Tickets) renew(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fresh := func(k ticketKey, life time.Duration) bool {
		return len(k.Secret) == 32 && !k.Made.After(now) && now.Sub(k.Made) < life
	}
	known := len(t.keys)
	for i, k := range t.keys {
		if !fresh(k, ticketKeys*ticketKeyLife) {
			known = i
			break
		}
	}
	changed := known < len(t.keys)
	t.keys = t.keys[:known]
	if known == 0 || !fresh(t.keys[0], ticketKeyLife) {
		secret := make([]byte, 32)
		rand.Read(secret) //nolint:errcheck // it never fails
		t.keys, changed = append([]ticketKey{{now, secret}}, t.keys[:min(known, ticketKeys-1)]...), true
	}
	if changed || !t.set {
		var all [][32]byte
		for _, k := range t.keys {
			all = append(all, [32]byte(k.Secret))
		}
		t.box.SetSessionTicketKeys(all)
		t.set = true
	}
	if changed {
		t.keep()
	}
}

// keep writes the file.
func (t *Tickets) keep() {
	b, err := json.Marshal(t.keys)
	if err == nil {
		err = durable.Write(t.file, b, 0o600)
	}
	if err != nil {
		t.log.Warn("the keys of TLS sessions cannot be saved: after a restart clients need a full handshake", "file", t.file, "error", err)
	}
}
