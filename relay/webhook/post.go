package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"dawk/mx/dial"
)

const (
	answerTime  = 10 * time.Second // for a whole answer
	maxAnswer   = 64 << 10         // octets of header, and of body
	idleTime    = time.Minute      // a connection may wait for the next request
	connections = concurrency
)

// NewPoster makes requests through w, which looks at each address before it is
// dialled. Redirects are not followed.
func NewPoster(w *dial.Web) Poster {
	client := w.Client(maxAnswer)
	t := client.Transport.(*http.Transport)
	t.DisableKeepAlives, t.IdleConnTimeout, t.MaxIdleConnsPerHost, t.MaxConnsPerHost = false, idleTime, connections, connections
	return func(ctx context.Context, url string, header map[string]string, body []byte) (int, error) {
		ctx, cancel := context.WithTimeout(ctx, answerTime)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return 0, err
		}
		for name, value := range header {
			req.Header.Set(name, value)
		}
		resp, err := client.Do(req)
		var refused *dial.RefusedError
		switch {
		case errors.As(err, &refused):
			return 0, fmt.Errorf("%s is %s: put its network into allow_networks of the webhook, if events are to go there", refused.Addr, refused.Kind)
		case err != nil:
			return 0, err
		}
		defer resp.Body.Close()
		n, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer+1))
		switch {
		case err != nil:
			return 0, fmt.Errorf("the answer did not come whole: %w", err)
		case n > maxAnswer:
			return 0, fmt.Errorf("the answer is longer than %d octets", maxAnswer)
		}
		return resp.StatusCode, nil
	}
}
