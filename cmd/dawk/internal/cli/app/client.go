package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"syscall"
	"time"

	"dawk/cmd/dawk/internal/config"
	"dawk/relay/admin"
)

// Client talks to the relay that runs with the same configuration.
type Client struct {
	socket string
	http   *http.Client
}

// ErrNotRunning: nobody listens on the socket.
var ErrNotRunning = errors.New("dawk is not running")

// Settings reads the configuration for its data directory. A fault elsewhere in the
// file must not lock the operator out of a relay that runs, or of what it left: it is
// only told.
func (a *App) Settings() (*config.Config, error) {
	c, err := config.LoadClient(a.ConfigPath)
	if err == nil {
		return c, nil
	}
	if c == nil || c.DataDir == "" {
		return nil, err
	}
	fmt.Fprintf(a.Stderr, "dawk: the configuration has faults (see dawk check); using data_dir = %q from it\n", c.DataDir)
	return c, nil
}

// Client asks on the command socket or, if that one is not for this user, on the one
// for the group of [admin].
func (a *App) Client() (*Client, error) {
	c, err := a.Settings()
	if err != nil {
		return nil, err
	}
	return NewClient(filepath.Join(c.DataDir, admin.SocketName), c.Admin.Socket), nil
}

// NewClient asks on socket or, if that one may not be used, on group; "": there is none.
func NewClient(socket, group string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		d := &net.Dialer{Timeout: 5 * time.Second}
		c, err := d.DialContext(ctx, "unix", socket)
		if errors.Is(err, fs.ErrPermission) && group != "" {
			return d.DialContext(ctx, "unix", group)
		}
		return c, err
	}
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// Call makes one request; the caller closes the answer's body. A status other
// than 200 comes back as the relay's own sentence. A body that is an io.Reader is sent as
// it is, any other as JSON.
func (c *Client) Call(ctx context.Context, method, path string, query url.Values, body any) (*http.Response, error) {
	r, whole := body.(io.Reader)
	if body != nil && !whole {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		r = bytes.NewReader(b)
	}
	u := url.URL{Scheme: "http", Host: "dawk", Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), r)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/x-ndjson, application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.Explain(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, refusal(resp)
}

// refusal is the relay's sentence in an answer that is an error.
func refusal(resp *http.Response) error {
	var p admin.Problem
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&p); err != nil || p.Detail == "" {
		return fmt.Errorf("the relay answered %s without a reason", resp.Status)
	}
	return errors.New(p.Detail)
}

// Get asks for one value.
func (c *Client) Get(ctx context.Context, path string, query url.Values, into any) error {
	return c.One(ctx, http.MethodGet, path, query, into)
}

func (c *Client) One(ctx context.Context, method, path string, query url.Values, into any) error {
	resp, err := c.Call(ctx, method, path, query, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("read the relay's answer: %w", err)
	}
	return nil
}

// Lines makes a request whose answer is lines, and gives each but the last to
// each. An answer without its End was cut, and is an error.
func (c *Client) Lines(ctx context.Context, method, path string, query url.Values, body any, each func(admin.Line) error) (*admin.End, error) {
	resp, err := c.Call(ctx, method, path, query, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	for d := json.NewDecoder(resp.Body); ; {
		var line admin.Line
		err := d.Decode(&line)
		switch {
		case err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF):
			return nil, errors.New("the relay's answer broke off before its end: it stopped or could not read on; see its log and ask again")
		case err != nil:
			return nil, fmt.Errorf("read the relay's answer: %w", err)
		case line.End != nil:
			return line.End, nil
		}
		if err := each(line); err != nil {
			return nil, err
		}
	}
}

// Explain turns a failed connection into what the operator can do about it.
func (c *Client) Explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: there is no socket at %s; start it with dawk serve, or name its configuration with -c", ErrNotRunning, c.socket)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: nobody answers on %s, which it left behind when it died; start it with dawk serve", ErrNotRunning, c.socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("permission denied on %s: run this command as the user that dawk runs as, or as root", c.socket)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the relay on %s did not answer in time", c.socket)
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return fmt.Errorf("ask the relay on %s: %w", c.socket, op.Err)
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // without the invented URL
	}
	return fmt.Errorf("ask the relay on %s: %w", c.socket, err)
}

// Health is the one question whose answer counts with status 503 too.
func (c *Client) Health(ctx context.Context) (*admin.Health, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://dawk/v1/health", nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.Explain(err)
	}
	defer resp.Body.Close()
	var h admin.Health
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusServiceUnavailable {
		return nil, refusal(resp)
	}
	if err := json.NewDecoder(resp.Body).Decode(&h); err != nil {
		return nil, fmt.Errorf("read the relay's answer: %w", err)
	}
	return &h, nil
}
