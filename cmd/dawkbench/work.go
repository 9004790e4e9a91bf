package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"dawk/cmd/dawkbench/load"
)

// work is what every contender is given.
type work struct {
	Messages      int           `json:"messages"`
	PerConnection int           `json:"per_connection"`
	Recipients    int           `json:"recipients"`
	Domains       int           `json:"domains"`
	Size          string        `json:"size"`
	Pipelining    bool          `json:"pipelining"`
	TLS           string        `json:"tls,omitempty"`
	SinkTLS       bool          `json:"sink_tls,omitempty"`
	Temporary     int           `json:"temporary_percent"`
	Permanent     int           `json:"permanent_percent"`
	Delay         time.Duration `json:"delay_ns"`
	ByMX          bool          `json:"by_mx"` // each domain has an MX host of its own; else one smart host
	Depth         int           `json:"depth"` // messages that wait in the queue all the while

	Connections int `json:"connections_per_provider,omitempty"` // that dawk may use; 0: its default

	sizes          []load.Size
	user, password string
	names          string // address of the name server, for ByMX
}

func (w *work) sourceFlags(f *pflag.FlagSet) {
	f.IntVarP(&w.Messages, "messages", "n", 2000, "messages to send")
	f.IntVar(&w.PerConnection, "per-connection", 0, "messages on each connection; 0: all")
	f.IntVar(&w.Recipients, "recipients", 1, "recipients of each message")
	f.IntVar(&w.Domains, "domains", 1, "domains that the recipients are spread over")
	f.StringVar(&w.Size, "size", "4KiB", "octets of body, or a mix with shares: 4KiB:8,64KiB:2")
	f.BoolVar(&w.Pipelining, "pipelining", false, "send MAIL, RCPT and DATA at once")
	f.StringVar(&w.TLS, "tls", "", "starttls or implicit; the certificate is not checked")
	f.StringVar(&w.user, "user", "", "log in with AUTH PLAIN")
	f.StringVar(&w.password, "password", "", "password of a throw-away user")
}

func (w *work) sinkFlags(f *pflag.FlagSet) {
	f.IntVar(&w.Temporary, "temporary", 0, "percent of recipients that hear 450 at their first attempt")
	f.IntVar(&w.Permanent, "permanent", 0, "percent of recipients that hear 550")
	f.DurationVar(&w.Delay, "delay", 0, "how long the sink waits before each reply")
	f.BoolVar(&w.SinkTLS, "sink-tls", false, "the sink offers STARTTLS; relays don't check its certificate")
}

// parse reads the sizes, and refuses what is out of bounds before anything is
// set aside for it.
func (w *work) parse() (err error) {
	switch {
	case w.Messages < 1 || w.Messages > load.MaxMessages:
		return fmt.Errorf("between 1 and %d messages, not %d", load.MaxMessages, w.Messages)
	case w.Recipients < 0 || w.Recipients > load.MaxDeliveries/w.Messages:
		return fmt.Errorf("%d recipients of each of %d messages: at most %d in all", w.Recipients, w.Messages, load.MaxDeliveries)
	case w.PerConnection < 0 || w.Domains < 0 || w.Delay < 0:
		return errors.New("messages on a connection, domains and delays are not negative")
	}
	if w.Depth < 0 || w.Depth > load.MaxMessages {
		return fmt.Errorf("a depth between 0 and %d", load.MaxMessages)
	}
	w.sizes, err = parseSizes(w.Size)
	return err
}

func (w *work) source(addr string, first, messages, clients int) load.SourceConfig {
	return load.SourceConfig{Addr: addr, First: first, Messages: messages, Clients: clients, PerConnection: w.PerConnection,
		Recipients: w.Recipients, Domains: w.Domains, Sizes: w.sizes, Pipelining: w.Pipelining, TLS: w.TLS,
		User: w.user, Password: w.password}
}

func (w *work) sink(addr string) (load.SinkConfig, error) {
	cfg := load.SinkConfig{Addr: addr, Temporary: w.Temporary, Permanent: w.Permanent, Delay: w.Delay}
	if !w.SinkTLS {
		return cfg, nil
	}
	chain, err := newChain("sink.bench.test")
	if err != nil {
		return cfg, err
	}
	cert, err := tls.X509KeyPair(chain, chain)
	cfg.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	return cfg, err
}

// parseSizes reads "4KiB" or "4KiB:8,64KiB:2".
func parseSizes(s string) ([]load.Size, error) {
	var sizes []load.Size
	for item := range strings.SplitSeq(s, ",") {
		text, share, hasShare := strings.Cut(strings.TrimSpace(item), ":")
		out := load.Size{Share: 1}
		var err error
		if out.Bytes, err = parseBytes(text); err != nil {
			return nil, err
		}
		if hasShare {
			if out.Share, err = strconv.Atoi(share); err != nil || out.Share < 1 || out.Share > 1000 {
				return nil, fmt.Errorf("the share %q is not between 1 and 1000", share)
			}
		}
		sizes = append(sizes, out)
	}
	return sizes, nil
}

func parseBytes(s string) (int, error) {
	unit, digits := 1, s
	for suffix, u := range map[string]int{"KiB": 1 << 10, "MiB": 1 << 20} {
		if d, ok := strings.CutSuffix(s, suffix); ok {
			unit, digits = u, d
		}
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n < 1 || n > load.MaxBytes/unit {
		return 0, fmt.Errorf("%q is not a size up to %d MiB: write 4096, 4KiB or 1MiB", s, load.MaxBytes>>20)
	}
	return n * unit, nil
}
