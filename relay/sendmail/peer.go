package sendmail

import (
	"net"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"dawk/relay"
	"dawk/relay/mailtext"
	"dawk/relay/socket"
)

// Identity names a user of this machine in the form of relay.Message: "local:" and the login name,
// or the user number if there is no name.
func Identity(uid uint32) string {
	n := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(n); err == nil && u.Username != "" {
		return "local:" + relay.Sanitize(u.Username)
	}
	return "local:" + n
}

// Own is the mail address of a user of this machine, given by the name that Identity returns; null
// if that name cannot be an address.
func Own(identity, domain string) relay.Path {
	p, err := mailtext.Qualify(strings.TrimPrefix(identity, "local:"), domain)
	if err != nil {
		return relay.Path{}
	}
	return p
}

// QueueSocket is the socket on which the relay shows users their mail in the queue. It is in the
// same directory as the socket for submission.
func QueueSocket(submit string) string { return filepath.Join(filepath.Dir(submit), "mailq.sock") }

// Peer is the identity of the process at the other end of a unix socket, as
// the kernel knows it (SO_PEERCRED).
func Peer(c net.Conn) (string, error) {
	uid, err := socket.PeerUID(c)
	if err != nil {
		return "", err
	}
	return Identity(uid), nil
}
