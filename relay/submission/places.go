package submission

import (
	"net/netip"

	"dawk/relay/accept"
	"dawk/relay/identity"
	"dawk/relay/submission/guard"
)

// leastReserve is the least number of connections that are kept from strangers.
const leastReserve = 8

// holder is the owner of connections that are counted together.
type holder struct {
	network netip.Prefix // of a client that came over a network
	local   string       // of programs of this machine: their identity, or "loopback"
}

// holding is a holder that a connection counts for, with how many it may have;
// 0: any number.
type holding struct {
	holder
	most int
}

// known says whether the client is on this machine or needs no login: the reserve is for these.
func (c *conn) known() bool { return c.identity != "" || c.client.IsLoopback() }

// holdings are the holders for whom c counts. Programs of this machine are not counted by address;
// an eighth of all places is left for others.
func holdings(c *conn) []holding {
	most := c.listener.cfg.MaxConnections - c.listener.cfg.MaxConnections/8
	switch {
	case c.listener.local != nil:
		return []holding{{holder{local: c.identity}, most}}
	case c.client.IsLoopback():
		return []holding{{holder{local: "loopback"}, most}}
	}
	var all []holding
	for _, n := range identity.Networks(c.client) {
		all = append(all, holding{holder{network: n.Prefix}, n.Times * c.listener.cfg.MaxConnectionsPerIP})
		if c.known() {
			break // of a client that is trusted only the address
		}
	}
	return all
}

// strangersMost is how many of most connections strangers may have together.
func strangersMost(most int) int { return max(1, most-max(leastReserve, most/8)) }

// countIn counts a client, or says why it is not admitted.
func (s *Server) countIn(c *conn) *accept.Refusal {
	c.holdings = holdings(c)
	most := c.listener.cfg.MaxConnections
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.isDraining():
		return accept.Refuse(guard.ReasonShutdown, 421, "4.3.2", "%s is shutting down, try again later", c.listener.cfg.Hostname)
	case most > 0 && (len(s.conns) >= most || !c.known() && s.strangers >= strangersMost(most)):
		return accept.Refuse(accept.ReasonConnections, 421, "4.3.2", "too many connections, try again later")
	}
	for _, h := range c.holdings {
		if h.most > 0 && s.held[h.holder] >= h.most {
			return accept.Refuse(accept.ReasonConnections, 421, "4.7.0", "too many connections from your address, try again later")
		}
	}
	s.conns[c] = struct{}{}
	if c.stranger = !c.known(); c.stranger {
		s.strangers++
	}
	for _, h := range c.holdings {
		s.held[h.holder]++
	}
	return nil
}

// countOut undoes countIn. The caller holds s.mu.
func (s *Server) countOut(c *conn) {
	delete(s.conns, c)
	if c.stranger { // as when it was counted: it may have logged in since
		s.strangers--
	}
	for _, h := range c.holdings {
		if s.held[h.holder]--; s.held[h.holder] <= 0 {
			delete(s.held, h.holder)
		}
	}
}
