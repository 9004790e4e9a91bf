package config

import (
	"cmp"
	"os"
	"path/filepath"

	"dawk/relay"
	"dawk/relay/identity"
	"dawk/relay/sendmail"
)

// SendmailConfig is [sendmail]: where `dawk sendmail` finds the relay, and
// where it leaves mail when the relay does not run.
type SendmailConfig struct {
	// the unix socket of `dawk sendmail`, open to every user of the machine; `""`: none
	Socket string `toml:"socket"`
	// the folder where mail waits while the relay does not run; `""`: none
	Drop string `toml:"drop"`
	// of addresses without one: `root` becomes `root@domain`. Over SMTP too, for clients that need no login and devices
	// Default: `hostname`
	Domain string `toml:"domain"`
	// a file of aliases, as local mail programs have it: `"/etc/aliases"`. Mail that programs of this machine send to
	// NAME@`domain` goes to the addresses it gives for NAME. Programs, files and lists in other files are not followed;
	// the log names them
	// Default: none
	Aliases string `toml:"aliases"`
	// whom users of this machine may send as, in the reverse-path and in the header: `["@example.org"]`. root may send
	// as anybody, always
	// Default: each user as NAME@`domain`
	Senders []identity.Sender `toml:"senders"`
	// of each user of this machine, with the meaning they have for [users](#userstoml). What is over a quota waits
	// in the drop folder
	// Default: no limit
	QuotaConfig
}

// The default places. They are used where the system was prepared for them,
// which is when their directory exists: a relay that somebody tries out as
// himself has no business in /run and /var/spool.
const (
	defaultSubmitSocket = "/run/dawk/submit.sock"
	defaultDrop         = "/var/spool/dawk/drop"
)

func defaultSendmail() SendmailConfig {
	return SendmailConfig{Socket: defaultSubmitSocket, Drop: defaultDrop}
}

func (c *Config) checkSendmail() {
	if c.Sendmail.Domain != "" {
		if _, err := relay.NormalizeDomain(c.Sendmail.Domain); err != nil {
			c.doc.Fault("sendmail.domain", "sendmail.domain %q is not a domain: write it like \"example.org\"", relay.Clip(c.Sendmail.Domain))
		}
	}
	c.checkQuota("sendmail", c.Sendmail.QuotaConfig)
	if len(c.Sendmail.Senders) == 0 {
		c.emptyMeansAll("sendmail.senders")
	}
	if path := c.Sendmail.Aliases; path != "" {
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			c.doc.Fault("sendmail.aliases", "sendmail.aliases: there is no file %s", relay.Clip(path))
		}
	}
	if len(c.Sendmail.Socket) > 107 { // sockaddr_un
		c.doc.Fault("sendmail.socket", "sendmail.socket has %d octets, and a unix socket can have 107: choose a shorter path", len(c.Sendmail.Socket))
	}
}

// SendmailDomain is the domain of addresses that programs of this machine write
// without one.
func (c *Config) SendmailDomain() string { return cmp.Or(c.Sendmail.Domain, c.Hostname) }

// Program is what holds for whoever runs a program of this machine; see
// relay.Message for its name.
func (c *Config) Program(name string) *identity.User {
	p := c.Sendmail.policy()
	switch {
	case name == sendmail.Identity(0): // root may become every other user
	case len(c.Sendmail.Senders) > 0:
		p.Senders = c.Sendmail.Senders
	default:
		p.Senders = []identity.Sender{identity.Mailbox(sendmail.Own(name, c.SendmailDomain()))}
	}
	return identity.ForProgram(name, p)
}

// Wanted says whether a place of [sendmail] is to be used: written in the
// file, or the default where the system is prepared for it.
func (c *Config) Wanted(key, path string) bool {
	if path == "" {
		return false
	}
	if c.doc != nil && c.doc.Has(key) {
		return true
	}
	info, err := os.Stat(filepath.Dir(path))
	return err == nil && info.IsDir()
}
