package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
)

// serveBare takes mail without the library, one goroutine a connection.
func (l *limit) serveBare(ctx context.Context, listen string, failed chan error) error {
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				failed <- err
				return
			}
			go l.bareSession(c)
		}
	}()
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	return errors.Join(err, ln.Close())
}

// bareSession trusts its client to speak SMTP as our own source does.
func (l *limit) bareSession(c net.Conn) {
	defer c.Close()
	in, p := bufio.NewReaderSize(c, 256<<10), parcel{wire: true}
	fmt.Fprint(c, "220 limit.test\r\n")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		reply := "250 ok\r\n"
		switch verb, _, _ := strings.Cut(strings.TrimSpace(line), " "); strings.ToUpper(verb) {
		case "MAIL":
			p.from, p.to = between(line), nil
		case "RCPT":
			p.to = append(p.to, between(line))
		case "DATA":
			fmt.Fprint(c, "354 go on\r\n")
			sent := p
			if sent.content, err = untilDot(in); err != nil {
				return
			}
			sent.done = make(chan error, 1)
			l.log <- &sent
			if <-sent.done != nil {
				return
			}
			l.queue <- &sent
		case "QUIT":
			reply = "221 bye\r\n"
		}
		if _, err := io.WriteString(c, reply); err != nil {
			return
		}
	}
}

// between is what stands between < and >.
func between(line string) string {
	_, path, _ := strings.Cut(line, "<")
	path, _, _ = strings.Cut(path, ">")
	return path
}

// untilDot reads content with its final dot.
func untilDot(in *bufio.Reader) ([]byte, error) {
	const end = "\r\n.\r\n"
	all := append(make([]byte, 0, 8<<10), "\r\n"...) // the end of an empty message is one, too
	for {
		if _, err := in.Peek(1); err != nil {
			return nil, err
		}
		piece, _ := in.Peek(in.Buffered())
		had := len(all)
		all = append(all, piece...)
		from := max(0, had-len(end)+1)
		if i := bytes.Index(all[from:], []byte(end)); i >= 0 {
			all = all[:from+i+len(end)]
			in.Discard(len(all) - had) //nolint:errcheck // it is there
			return all[2:], nil
		}
		in.Discard(len(piece)) //nolint:errcheck // it is there
	}
}
