package suppressioncmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/queue/boltstore/datadir"
	"dawk/relay/admin/audit"
	"dawk/relay/admin/suppressed"
	"dawk/relay/suppression"
)

// desk is where the commands look at the list and change it.
type desk interface {
	each(filter string, limit int, do func(suppression.Entry) error) (found int, err error)
	add(suppressed.AddRequest) (suppressed.Changed, error)
	remove(suppressed.RemoveRequest) (suppressed.Changed, error)
	importFile(format, identity string, r io.Reader) (suppressed.Changed, error)
}

// with does something with the list of the relay that runs, or with the files.
func with(a *app.App, ctx context.Context, do func(desk) error) error {
	ctx = app.OrBackground(ctx)
	c, err := a.Client()
	if err != nil {
		return err
	}
	if _, err := c.Health(ctx); !errors.Is(err, app.ErrNotRunning) {
		return do(&remote{c, ctx})
	}
	cfg, err := a.Settings()
	if err != nil {
		return err
	}
	rules := cfg.SuppressionRules()
	if rules == nil {
		return suppression.ErrOff
	}
	if _, err := os.Stat(cfg.DataDir); err != nil {
		return fmt.Errorf("there is no list yet: %w", err)
	}
	lock, err := datadir.Lock(cfg.DataDir)
	if err != nil {
		return err
	}
	defer lock.Close()
	log := cfg.Log.Logger(io.Discard)
	acts, err := audit.Open(cfg.AuditDir(), time.Now())
	if err != nil {
		return err
	}
	list := suppression.New(cfg.DataDir, log)
	if err := list.Configure(rules); err != nil {
		return err
	}
	return errors.Join(do(&local{suppressed.Desk{List: list, Audit: acts, Log: log}, fmt.Sprintf("uid:%d", os.Getuid())}), list.Close())
}

// local is the list in data_dir.
type local struct {
	suppressed.Desk
	who string
}

func (l *local) each(filter string, limit int, do func(suppression.Entry) error) (found int, err error) {
	f, err := suppression.Terms.Parse(filter, time.Now())
	if err != nil {
		return 0, err
	}
	err = l.List.Each(f, func(e suppression.Entry) error {
		if found++; limit > 0 && found > limit {
			return nil
		}
		return do(e)
	})
	return found, err
}

func (l *local) add(r suppressed.AddRequest) (suppressed.Changed, error) { return l.Add(l.who, r) }

func (l *local) remove(r suppressed.RemoveRequest) (suppressed.Changed, error) {
	return l.Remove(l.who, r)
}

func (l *local) importFile(format, identity string, r io.Reader) (suppressed.Changed, error) {
	return l.Import(l.who, format, identity, r)
}

// remote is the list of the relay that runs.
type remote struct {
	c   *app.Client
	ctx context.Context
}

const path = "/v1/suppression"

func (r *remote) each(filter string, limit int, do func(suppression.Entry) error) (int, error) {
	resp, err := r.c.Call(r.ctx, http.MethodGet, path, url.Values{"filter": {filter}, "limit": {strconv.Itoa(limit)}}, nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	for d := json.NewDecoder(resp.Body); ; {
		var line suppressed.Line
		switch err := d.Decode(&line); {
		case err != nil:
			return 0, fmt.Errorf("the relay's answer broke off before its end: %w", err)
		case line.Found != nil:
			return *line.Found, nil
		case line.Entry == nil:
			continue
		}
		if err := do(*line.Entry); err != nil {
			return 0, err
		}
	}
}

func (r *remote) change(verb string, query url.Values, body any) (c suppressed.Changed, err error) {
	resp, err := r.c.Call(r.ctx, http.MethodPost, path+"/"+verb, query, body)
	if err != nil {
		return c, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&c); err != nil {
		return c, fmt.Errorf("read the relay's answer: %w", err)
	}
	return c, nil
}

func (r *remote) add(req suppressed.AddRequest) (suppressed.Changed, error) {
	return r.change("add", nil, req)
}

func (r *remote) remove(req suppressed.RemoveRequest) (suppressed.Changed, error) {
	return r.change("remove", nil, req)
}

func (r *remote) importFile(format, identity string, in io.Reader) (suppressed.Changed, error) {
	return r.change("import", url.Values{"format": {format}, "identity": {identity}}, in)
}
