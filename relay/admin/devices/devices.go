// Package devices remembers who came to the listeners for devices, and what troubles
// them. Devices.mu guards it; there are no goroutines. Begin reading at Devices.Observe.
package devices

import (
	"slices"
	"strings"
	"sync"
	"time"

	"dawk/relay"
)

// Device is a client of a listener for devices, as `dawk devices` shows it.
// Several behind one address are one.
type Device struct {
	Client      string    `json:"client"`             // its address
	Helo        string    `json:"helo,omitempty"`     // what it called itself last
	Identity    string    `json:"identity,omitempty"` // as which its mail was taken, or login accepted, last
	Listener    string    `json:"listener"`           // where it came last
	First       time.Time `json:"first"`              // contact, since the relay started
	Last        time.Time `json:"last"`               // contact
	TLS         string    `json:"tls,omitempty"`      // of the last contact that had any
	Messages    int       `json:"messages"`           // accepted
	LastMessage time.Time `json:"last_message,omitzero"`
	Error       string    `json:"error,omitempty"` // the last, in plain words; "" once a message was accepted after it
	ErrorAt     time.Time `json:"error_at,omitzero"`
}

// maxDevices are remembered; then the one that was silent for longest is
// forgotten. About 1 KiB each.
const maxDevices = 2048

// Devices remembers, in memory, who came to the listeners for devices. It is
// an Observer, and safe for concurrent use.
type Devices struct {
	mu        sync.Mutex
	listeners []string
	clients   map[string]*Device
}

// New watches the listeners of these names (relay.Event.Listener).
func New(listeners []string) *Devices {
	return &Devices{listeners: listeners, clients: map[string]*Device{}}
}

// Watch changes the listeners; what is known of devices stays.
func (d *Devices) Watch(listeners []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.listeners = listeners
}

// Watches says whether there is any listener for devices.
func (d *Devices) Watches() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.listeners) > 0
}

// Observe notes what e says of a device.
func (d *Devices) Observe(e relay.Event) {
	if e.Client == "" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Contains(d.listeners, e.Listener) {
		return
	}
	v := d.clients[e.Client]
	if v == nil {
		if len(d.clients) >= maxDevices {
			d.forget()
		}
		v = &Device{Client: e.Client, First: e.Time}
		d.clients[e.Client] = v
	}
	v.Last, v.Listener = e.Time, e.Listener
	if e.Helo != "" {
		v.Helo = relay.Sanitize(e.Helo)
	}
	if e.TLS != "" {
		v.TLS = e.TLS
	}
	switch e.Kind {
	case relay.EventAccepted:
		v.Messages++
		v.Identity, v.LastMessage, v.Error, v.ErrorAt = e.Identity, e.Time, "", time.Time{}
	case relay.EventLogin:
		if e.Reason == "ok" {
			v.Identity = e.Identity
			return
		}
		v.Error, v.ErrorAt = plainLogin(e), e.Time
	case relay.EventRefused:
		v.Error, v.ErrorAt = plainRefusal(e), e.Time
	}
}

func (d *Devices) forget() {
	var oldest *Device
	for _, v := range d.clients {
		if oldest == nil || v.Last.Before(oldest.Last) {
			oldest = v
		}
	}
	delete(d.clients, oldest.Client)
}

// List is all of them, the one that came last first.
func (d *Devices) List() []Device {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]Device, 0, len(d.clients))
	for _, v := range d.clients {
		list = append(list, *v)
	}
	slices.SortFunc(list, func(a, b Device) int {
		if c := b.Last.Compare(a.Last); c != 0 {
			return c
		}
		return strings.Compare(a.Client, b.Client)
	})
	return list
}

// plainLogin says what went wrong with a login to somebody who stands before
// the device.
func plainLogin(e relay.Event) string {
	switch e.Reason {
	case "credentials":
		return "Wrong user name or password. Set them anew on the device; `dawk user passwd NAME` gives another."
	case "tls":
		return "It logs in before TLS. Turn on TLS (STARTTLS) on the device, or allow auth_without_tls on this listener."
	case "off":
		return "It tries to log in where nobody can. Turn the login off on the device, or set auth on this listener."
	case "blocked":
		return "Too many wrong passwords came from its address. Mend the password and wait ten minutes."
	case "mechanism":
		return "It logs in by a method that it cannot use here. Choose PLAIN or LOGIN on the device; EXTERNAL needs a certificate from client_ca that has not expired."
	}
	return relay.Sanitize(e.Reply.Text)
}

// tlsTroubles are what crypto/tls says, and what it means for a device.
var tlsTroubles = []struct{ says, means string }{
	{"unsupported versions", `It speaks only TLS versions that are too old for this listener. Update its firmware, or lower min_tls.`},
	{"protocol version not supported", `It speaks only TLS versions that are too old for this listener. Update its firmware, or lower min_tls.`},
	{"no cipher suite supported", `It has no cipher suite in common with dawk. Update its firmware, or list an older suite in ciphers; those with RSA key exchange need an RSA certificate.`},
	{"error decoding message", `It names this server with a dot at the end, which dawk cannot read. Take the dot away on the device, or give it our IP address. If there is no dot, its handshake is damaged: update its firmware.`},
	{"bad certificate", `It does not trust our certificate. Use one from a known authority, import ours on the device, or turn its checking off.`},
	{"unknown certificate", `It does not trust our certificate. Use one from a known authority, import ours on the device, or turn its checking off.`},
	{"certificate expired", `It thinks that our certificate has expired. Look at the clock of the device, and at the certificate.`},
	{"does not look like a TLS handshake", `It does not begin with TLS where this listener wants it from the start (tls = "implicit"). Choose "SSL/TLS" on the device, or a listener with STARTTLS.`},
}

// plainRefusal says why something was refused.
func plainRefusal(e relay.Event) string {
	text := relay.Sanitize(e.Reply.Text)
	switch e.Reason {
	case "tls":
		for _, t := range tlsTroubles {
			if strings.Contains(text, t.says) {
				return t.means
			}
		}
		if e.Reply.Code == 0 { // there was nobody to hear one: the handshake failed
			return "TLS could not begin: the device gave up, or the connection broke. Its log may say why. (" + text + ")"
		}
		return "It sends without TLS, which this listener requires. Turn on TLS (STARTTLS) on the device."
	case "auth_required":
		return "It sends without logging in. Set user name and password on the device, or put its address into trusted_networks."
	case "relay_denied":
		return "It may not send: it did not log in and its address is not in trusted_networks."
	case "sender":
		return "It sends under an address that its login may not use. Change the sender address on the device, or senders or rewrite_from in users.toml. (" + text + ")"
	case "bare_newline":
		return `Its messages do not end their lines in CRLF. Set bare_newline = "normalize" for this listener, or turn on another line end on the device. (` + text + ")"
	case "line_end":
		return "It mixes the line ends CRLF and LF, or uses LF where CRLF was expected. A message must end in CRLF.CRLF; a listener for devices also takes LF in the clear, if all lines end so, those of commands too: change the line end on the device, or update its firmware. (" + text + ")"
	case "long_line":
		return `Its messages have lines that are too long. Set long_lines = "fold" for this listener; a signed message is never folded. (` + text + ")"
	case "reset":
		return "It broke the connection (RST) before a message was taken. Often it does not like what it was offered: try without TLS or without a login, and look at its own log and time limits."
	case "timeout":
		return "It stopped in the middle and said nothing more."
	case "cut":
		return "The connection broke in the middle of a message. If it repeats, look at the network, and at a limit on size or time on the device."
	}
	return text
}
