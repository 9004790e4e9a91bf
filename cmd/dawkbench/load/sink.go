package load

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Arrival is one recipient's copy as the sink was given it.
type Arrival struct {
	ID, Recipient int
	At            time.Time
	Whole         bool // the body is what was sent
	Refused       bool // the sink said 550, for good
	Foreign       bool // not one of ours: a notice
}

// SinkConfig is how a sink behaves.
type SinkConfig struct {
	Addr      string        // loopback; port 0 for a free one
	Temporary int           // percent of recipients that hear 450 at their first attempt
	Permanent int           // percent of recipients that hear 550
	Delay     time.Duration // before each reply but 354 and QUIT's
	TLS       *tls.Config   // it offers STARTTLS; nil: it does not
	Observe   func(Arrival)
}

// Sink takes mail from a relay.
type Sink struct {
	cfg SinkConfig
	l   net.Listener
	wg  sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]bool
	deferred map[[2]int]bool // recipients that heard 450

	Connections atomic.Int64 // ever
	Messages    atomic.Int64 // taken
	Resumed     atomic.Int64 // connections whose TLS session had begun on another one
}

// NewSink listens and serves until Close.
func NewSink(cfg SinkConfig) (*Sink, error) {
	if err := CheckLoopback(cfg.Addr); err != nil {
		return nil, err
	}
	if cfg.Temporary < 0 || cfg.Permanent < 0 || cfg.Temporary+cfg.Permanent > 100 {
		return nil, fmt.Errorf("shares of %d %% and %d %% of recipients do not fit", cfg.Temporary, cfg.Permanent)
	}
	l, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return nil, err
	}
	s := &Sink{cfg: cfg, l: l, conns: map[net.Conn]bool{}, deferred: map[[2]int]bool{}}
	s.wg.Go(s.accept)
	return s, nil
}

// Addr is where it listens.
func (s *Sink) Addr() string { return s.l.Addr().String() }

// Close ends all connections and waits for their goroutines.
func (s *Sink) Close() error {
	err := s.l.Close()
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return err
}

func (s *Sink) accept() {
	for {
		c, err := s.l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of file descriptors, perhaps
			time.Sleep(10 * time.Millisecond)
			continue
		}
		s.mu.Lock()
		s.conns[c] = true
		s.mu.Unlock()
		s.Connections.Add(1)
		s.wg.Go(func() {
			(&sinkConn{sink: s, c: c, r: bufio.NewReaderSize(c, 32<<10)}).serve()
			c.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		})
	}
}

// sinkConn is one relay's connection.
type sinkConn struct {
	sink  *Sink
	c     net.Conn
	r     *bufio.Reader
	tls   bool
	out   []byte
	rcpts [][2]int // message and recipient
	other int      // recipients that are none of ours
}

func (c *sinkConn) serve() {
	c.out = append(c.out, "220 sink.bench.test ESMTP\r\n"...)
	for {
		// A pipelining client's commands are answered together, as RFC 2920
		// §3.2 wants.
		if c.r.Buffered() == 0 && c.flush() != nil {
			return
		}
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return
		}
		if !c.command(bytes.TrimRight(line, "\r\n")) {
			_ = c.flush() // it is over either way
			return
		}
	}
}

func (c *sinkConn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.c.Write(c.out)
	c.out = c.out[:0]
	return err
}

func (c *sinkConn) say(reply string) bool {
	if d := c.sink.cfg.Delay; d > 0 {
		time.Sleep(d)
	}
	c.out = append(append(c.out, reply...), '\r', '\n')
	return true
}

func (c *sinkConn) command(line []byte) bool {
	verb := string(bytes.ToUpper(line[:min(4, len(line))]))
	switch verb {
	case "EHLO":
		if c.sink.cfg.TLS != nil && !c.tls {
			return c.say("250-sink.bench.test\r\n250-PIPELINING\r\n250-SIZE 0\r\n250-STARTTLS\r\n250 8BITMIME")
		}
		return c.say("250-sink.bench.test\r\n250-PIPELINING\r\n250-SIZE 0\r\n250 8BITMIME")
	case "HELO", "NOOP":
		return c.say("250 OK")
	case "MAIL", "RSET":
		c.rcpts, c.other = c.rcpts[:0], 0
		return c.say("250 OK")
	case "RCPT":
		return c.say(c.recipient(string(line)))
	case "DATA":
		if len(c.rcpts)+c.other == 0 {
			return c.say("554 no valid recipients")
		}
		c.out = append(c.out, "354 go on\r\n"...)
		if c.flush() != nil || c.data() != nil {
			return false
		}
		c.rcpts, c.other = c.rcpts[:0], 0
		return c.say("250 taken")
	case "STAR":
		return c.sink.cfg.TLS != nil && !c.tls && c.secure() == nil
	case "QUIT":
		c.out = append(c.out, "221 bye\r\n"...)
		return false
	}
	return c.say("502 not known here")
}

// secure answers STARTTLS, and goes on in TLS.
func (c *sinkConn) secure() error {
	c.out = append(c.out, "220 go on\r\n"...)
	if err := c.flush(); err != nil {
		return err
	}
	secure := tls.Server(c.c, c.sink.cfg.TLS)
	if err := secure.Handshake(); err != nil {
		return err
	}
	if secure.ConnectionState().DidResume {
		c.sink.Resumed.Add(1)
	}
	c.c, c.tls = secure, true
	c.r.Reset(secure)
	return nil
}

// recipient answers RCPT. Who hears what is decided by the number alone, so
// that each run is the same.
func (c *sinkConn) recipient(line string) string {
	_, path, _ := strings.Cut(line, ":")
	id, r, ok := parseRecipient(strings.TrimSpace(path))
	if !ok {
		c.other++
		return "250 OK"
	}
	s := c.sink
	percent := int(uint32(id*31+r)*2654435761>>8) % 100
	switch {
	case percent < s.cfg.Permanent:
		s.observe(Arrival{ID: id, Recipient: r, Refused: true})
		return "550 5.1.1 no such user"
	case percent < s.cfg.Permanent+s.cfg.Temporary && s.firstTime(id, r):
		return "450 4.2.1 come back later"
	}
	c.rcpts = append(c.rcpts, [2]int{id, r})
	return "250 OK"
}

func (s *Sink) firstTime(id, r int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deferred[[2]int{id, r}] {
		return false
	}
	s.deferred[[2]int{id, r}] = true
	return true
}

func (s *Sink) observe(a Arrival) {
	a.At = time.Now()
	if s.cfg.Observe != nil {
		s.cfg.Observe(a)
	}
}

// data takes a message to its end and tells of it.
func (c *sinkConn) data() error {
	var m mark
	var marked, inBody bool
	var size int
	var crc uint32
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return io.ErrUnexpectedEOF
		}
		switch {
		case len(line) == 3 && line[0] == '.' && line[1] == '\r':
			c.taken(m, marked && m.size == size && m.crc == crc)
			return nil
		case inBody:
			if line[0] == '.' {
				line = line[1:] // RFC 5321 §4.5.2
			}
			size += len(line)
			crc = crc32.Update(crc, castagnoli, line)
		case len(line) <= 2:
			inBody = true
		case bytes.HasPrefix(line, []byte(header)):
			m, marked = parseMark(string(line[len(header):]))
		}
	}
}

func (c *sinkConn) taken(m mark, whole bool) {
	c.sink.Messages.Add(1)
	for _, r := range c.rcpts {
		c.sink.observe(Arrival{ID: r[0], Recipient: r[1], Whole: whole && m.id == r[0]})
	}
	for range c.other {
		c.sink.observe(Arrival{Foreign: true})
	}
}
