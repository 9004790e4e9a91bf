package devices_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"dawk/relay"
	"dawk/relay/admin"
)

func TestDevicesAreKnownByTheirLastContact(t *testing.T) {
	d := admin.NewDevices([]string{"192.0.2.1:25"})
	at := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	see := func(client string, change func(*relay.Event)) {
		at = at.Add(time.Minute)
		e := relay.Event{Kind: relay.EventConnected, Time: at, Client: client, Listener: "192.0.2.1:25"}
		if change != nil {
			change(&e)
		}
		d.Observe(e)
	}
	see("198.51.100.7", nil)
	see("198.51.100.7", func(e *relay.Event) {
		e.Kind, e.Reason, e.Reply.Text = relay.EventRefused, "tls", "TLS handshake: tls: client offered only unsupported versions: [301]"
	})
	see("198.51.100.8", func(e *relay.Event) { e.Kind, e.Reason = relay.EventLogin, "credentials" })
	see("198.51.100.9", func(e *relay.Event) { e.Listener = "192.0.2.1:587" }) // for people
	list := d.List()
	if len(list) != 2 || list[0].Client != "198.51.100.8" || !strings.Contains(list[0].Error, "Wrong user name") || !strings.Contains(list[1].Error, "lower min_tls") {
		t.Fatalf("%+v", list)
	}
	see("198.51.100.7", func(e *relay.Event) {
		e.Kind, e.Identity, e.TLS, e.Helo = relay.EventAccepted, "scanner", "TLS1.0 x", "KM\x00C4"
	})
	if v := d.List()[0]; v.Error != "" || v.Messages != 1 || v.TLS != "TLS1.0 x" || v.Identity != "scanner" || !v.LastMessage.Equal(at) || v.Helo != "KM C4" {
		t.Errorf("%+v", v)
	}
	for i := range 3000 {
		see(fmt.Sprintf("2001:db8::%x", i), nil)
	}
	if n := len(d.List()); n != 2048 {
		t.Errorf("%d are remembered", n)
	}
}
