package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"dawk/relay"
)

// ErrNotOffered: the configuration gives the relay nothing to answer from.
var ErrNotOffered = errors.New("this relay does not offer it: its configuration has nothing to ask about")

// Fault is the trailer that says what a streamed answer of octets lacks.
const Fault = "Dawk-Backup-Fault"

// maxRequest bounds the body of a request, in octets; a filter is most of it.
const maxRequest = 512 << 10

// Problem is the body of an answer that is an error (RFC 9457).
type Problem struct {
	Type           string `json:"type"`                      // "about:blank": the status says it all
	Title          string `json:"title"`                     // of the status
	Status         int    `json:"status"`                    // of HTTP
	Detail         string `json:"detail"`                    // one sentence: what is wrong, and what to do
	EnhancedStatus string `json:"enhanced_status,omitempty"` // RFC 3463, where mail would meet the same
}

const problemMedia = "application/problem+json"

// Fail answers with a [Problem].
func Fail(w http.ResponseWriter, status int, err error) {
	p := Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: err.Error()}
	if errors.Is(err, relay.ErrNoSpace) {
		p.EnhancedStatus = "4.3.1"
	}
	w.Header().Set("Content-Type", problemMedia)
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(p) // the client has gone if this fails
}

// Answer answers with v as JSON.
func Answer(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		Fail(w, http.StatusInternalServerError, fmt.Errorf("encode the answer: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(b, '\n'))
}

// Read reads the body of a request, at most 512 KiB of JSON without unknown fields.
func Read(w http.ResponseWriter, r *http.Request, into any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	d.DisallowUnknownFields() // a dry_run that is misspelt must not act
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	return nil
}

// StatusOf is the HTTP status for an error of the store or the dispatcher.
func StatusOf(err error) int {
	switch {
	case errors.Is(err, relay.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, relay.ErrClosed):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// ID reads {id} of the path; it has answered when ok is false.
func ID(w http.ResponseWriter, r *http.Request) (id relay.QueueID, ok bool) {
	id, err := relay.ParseQueueID(r.PathValue("id"))
	if err != nil {
		Fail(w, http.StatusBadRequest, err)
		return id, false
	}
	return id, true
}

// Limit reads the parameter limit; 0: none.
func Limit(r *http.Request) (limit int, err error) {
	if s := r.FormValue("limit"); s != "" {
		if limit, err = strconv.Atoi(s); err != nil || limit < 0 {
			return 0, fmt.Errorf("limit %.20q is not a number of lines", s)
		}
	}
	return limit, nil
}
