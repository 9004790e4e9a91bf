package cli

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

// client talks to the relay that runs with the same configuration.
type client struct {
	socket string
	http   *http.Client
}

// errNotRunning: nobody listens on the socket.
var errNotRunning = errors.New("dawk is not running")

// settings reads the configuration for its data directory. A fault elsewhere in the
// file must not lock the operator out of a relay that runs, or of what it left: it is
// only told.
func (a *app) settings() (*config.Config, error) {
	c, err := config.LoadClient(a.configPath)
	if err == nil {
		return c, nil
	}
	if c == nil || c.DataDir == "" {
		return nil, err
	}
	fmt.Fprintf(a.stderr, "dawk: the configuration has faults (see dawk check); using data_dir = %q from it\n", c.DataDir)
	return c, nil
}

func (a *app) dataDir() (string, error) {
	c, err := a.settings()
	if err != nil {
		return "", err
	}
	return c.DataDir, nil
}

func (a *app) client() (*client, error) {
	dir, err := a.dataDir()
	if err != nil {
		return nil, err
	}
	return newClient(filepath.Join(dir, admin.SocketName)), nil
}

func newClient(socket string) *client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", socket)
	}
	return &client{socket: socket, http: &http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// call makes one request; the caller closes the answer's body. A status other
// than 200 comes back as the relay's own sentence.
func (c *client) call(ctx context.Context, method, path string, query url.Values, body any) (*http.Response, error) {
	var r io.Reader
	if body != nil {
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
	var p struct {
		Error string `json:"error"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&p); err != nil || p.Error == "" {
		return fmt.Errorf("the relay answered %s without a reason", resp.Status)
	}
	return errors.New(p.Error)
}

// get asks for one value.
func (c *client) get(ctx context.Context, path string, query url.Values, into any) error {
	return c.one(ctx, http.MethodGet, path, query, into)
}

func (c *client) one(ctx context.Context, method, path string, query url.Values, into any) error {
	resp, err := c.call(ctx, method, path, query, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("read the relay's answer: %w", err)
	}
	return nil
}

// lines makes a request whose answer is lines, and gives each but the last to
// each. An answer without its End was cut, and is an error.
func (c *client) lines(ctx context.Context, method, path string, query url.Values, body any, each func(admin.Line) error) (*admin.End, error) {
	resp, err := c.call(ctx, method, path, query, body)
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
func (c *client) Explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: there is no socket at %s; start it with dawk serve, or name its configuration with -c", errNotRunning, c.socket)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: nobody answers on %s, which it left behind when it died; start it with dawk serve", errNotRunning, c.socket)
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
