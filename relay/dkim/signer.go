package dkim

import (
	"crypto"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"dawk/relay"
)

// Signer holds the keys and reads their files again when they change. It is
// safe for use by many goroutines.
type Signer struct {
	log *slog.Logger

	mu      sync.Mutex
	keys    map[string][]*loaded // by domain
	checked time.Time
}

// loaded is a key with the state of its file when it was read last,
// usable or not.
type loaded struct {
	Key
	private  crypto.Signer
	modified time.Time
	size     int64
}

// checkEvery is how often key files are looked at, at most.
const checkEvery = time.Second

// Open reads all keys. The error names every file that cannot be used. log may
// be nil.
func Open(keys []Key, log *slog.Logger) (*Signer, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Signer{log: log, keys: map[string][]*loaded{}, checked: time.Now()}
	var errs []error
	for _, k := range keys {
		k, err := k.Normalize()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		l := &loaded{Key: k}
		l.changed()
		if l.private, err = LoadKey(k.File); err != nil {
			errs = append(errs, fmt.Errorf("DKIM key of %s: %w", k.Domain, err))
			continue
		}
		s.keys[k.Domain] = append(s.keys[k.Domain], l)
	}
	return s, errors.Join(errs...)
}

// changed says whether the file is another than it was, and remembers it.
func (l *loaded) changed() bool {
	var modified time.Time
	var size int64
	if fi, err := os.Stat(l.File); err == nil {
		modified, size = fi.ModTime(), fi.Size()
	}
	if modified.Equal(l.modified) && size == l.size {
		return false
	}
	l.modified, l.size = modified, size
	return true
}

// of are the keys of a domain, as they are now, that sign m. A changed file that
// cannot be read, perhaps because only half of it is written yet, leaves the old
// key in use.
func (s *Signer) of(domain string, m *relay.Message) []*dkim.SignOptions {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.checked) >= checkEvery {
		s.checked = now
		s.reload()
	}
	var options []*dkim.SignOptions
	for _, l := range s.keys[domain] {
		if !l.Signs(m) {
			continue
		}
		options = append(options, &dkim.SignOptions{Domain: l.Domain, Selector: l.Selector, Signer: l.private, Hash: crypto.SHA256,
			HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed})
	}
	return options
}

func (s *Signer) reload() {
	for _, list := range s.keys {
		for _, l := range list {
			if !l.changed() {
				continue
			}
			private, err := LoadKey(l.File)
			if err != nil {
				s.log.Error("the new DKIM key cannot be used; the old one stays", "domain", l.Domain, "selector", l.Selector, "err", err)
				continue
			}
			l.private = private
			s.log.Info("DKIM key loaded again", "domain", l.Domain, "selector", l.Selector, "file", l.File)
		}
	}
}

// Sign makes one DKIM-Signature field, with its CRLF, for each key of the From
// domain that signs mail of whoever submitted m; none when there is no such key.
// content is read twice, its body
// hashed once for each key. An error is trouble in reading content or in
// signing: nothing is known of the message then.
func (s *Signer) Sign(m *relay.Message, content relay.Content) ([]byte, error) {
	if len(s.keys) == 0 { // only Open adds domains
		return nil, nil
	}
	f, err := readFields(content)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	options := s.of(f.domain(), m)
	if len(options) == 0 {
		return nil, nil
	}
	signers := make([]*dkim.Signer, 0, len(options))
	writers := make([]io.Writer, 0, len(options))
	for _, o := range options {
		o.HeaderKeys = f.signed()
		one, err := dkim.NewSigner(o)
		if err != nil {
			closeAll(signers) //nolint:errcheck // the first error counts
			return nil, fmt.Errorf("sign for %s with selector %s: %w", o.Domain, o.Selector, err)
		}
		signers, writers = append(signers, one), append(writers, one)
	}
	w := io.MultiWriter(writers...)
	_, err = io.Copy(w, io.NewSectionReader(content, 0, content.Size()))
	if err == nil && !f.ended { // a header alone: the library wants the line that ends it
		_, err = io.WriteString(w, "\r\n")
	}
	if cerr := closeAll(signers); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, fmt.Errorf("sign for %s: %w", options[0].Domain, err)
	}
	var header []byte
	for _, one := range signers {
		header = append(header, one.Signature()...)
	}
	return header, nil
}

// Owns says whether a DKIM-Signature field was made in the name of a domain
// that we have a key of.
func (s *Signer) Owns(field []byte) bool {
	for tag := range strings.SplitSeq(relay.FieldValue(field), ";") {
		name, value, _ := strings.Cut(tag, "=")
		if strings.TrimSpace(name) != "d" { // RFC 6376 §3.2: names are case-sensitive
			continue
		}
		d, err := relay.NormalizeDomain(strings.TrimSpace(value))
		return err == nil && len(s.keys[d]) > 0 // only Open adds domains
	}
	return false
}

// closeAll ends every signer, whatever the others say: each is a goroutine.
func closeAll(signers []*dkim.Signer) error {
	var errs []error
	for _, s := range signers {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}
