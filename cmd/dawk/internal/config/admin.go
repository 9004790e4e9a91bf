package config

import (
	"os/user"
	"strconv"

	"dawk/relay"
	"dawk/relay/admin/operator"
)

// AdminConfig is [admin].
type AdminConfig struct {
	// the file of who may use the pages and the API at the address of `[http]`: written by `dawk operator` and
	// `dawk token`, which make it. Needs TLS there, or a loopback address
	// Default: none: no pages, and no API over TCP
	Operators string `toml:"operators"`
	// another command socket, of mode 0660. The one in `data_dir` (0600) is for the relay's own user and root
	// Default: none
	Socket string `toml:"socket"`
	// the group that may use `socket`. The relay must run as root or as a member of it
	// Default: the relay's own
	Group string `toml:"group"`
	// what members of the group may do: `"read"` (look at everything but the content of mail), `"operate"` (also act on
	// mail, and read it) or `"admin"` (also reload, verify, compact and back up)
	// Default: `"read"`
	GroupRole operator.Role `toml:"group_role"`
}

func newAdminConfig() AdminConfig { return AdminConfig{GroupRole: operator.Read} }

func (c *Config) checkAdmin() {
	if c.Admin.Operators != "" && !c.APIOffered() {
		c.doc.Fault("admin.operators", "admin.operators needs an address in [http] that is loopback, or [http] tls = \"implicit\": passwords must not cross a network in the clear")
	}
	if c.Admin.Group != "" && c.Admin.Socket == "" {
		c.doc.Fault("admin.group", "admin.group without admin.socket: name the socket that the group may use, such as \"/run/dawk/admin.sock\"")
	}
}

func (c *Config) checkAdminGroup() {
	if _, err := c.AdminGroup(); err != nil {
		c.doc.Fault("admin.group", "admin.group %q: this machine has no such group; make it with groupadd", relay.Clip(c.Admin.Group))
	}
}

// AdminGroup is the number of the group of the socket of [admin]; -1: the relay's own.
func (c *Config) AdminGroup() (int, error) {
	if c.Admin.Group == "" {
		return -1, nil
	}
	g, err := user.LookupGroup(c.Admin.Group)
	if err != nil {
		return -1, err
	}
	return strconv.Atoi(g.Gid)
}
