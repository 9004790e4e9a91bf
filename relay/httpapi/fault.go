package httpapi

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"dawk/relay/accept"
	"dawk/relay/httpapi/jsonread"
)

// badRequest is a request that is not valid, so that it never gets to the rules.
type badRequest struct {
	code int
	text string
}

func (b *badRequest) Error() string { return b.text }

func bad(format string, args ...any) error {
	return &badRequest{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// readError is what to say when the body of a request cannot be read.
func readError(err error) error {
	if big, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &badRequest{http.StatusRequestEntityTooLarge, fmt.Sprintf("the request is larger than %d octets", big.Limit)}
	}
	if full, ok := errors.AsType[*accept.Refusal](err); ok {
		return full
	}
	return &badRequest{http.StatusBadRequest, "the request did not arrive completely"}
}

// wrongJSON says what is wrong with a request, in words about JSON.
func wrongJSON(err error) error {
	const prefix = "the JSON is not a message: "
	if syntax, ok := errors.AsType[*jsonread.SyntaxError](err); ok {
		return bad(prefix+"%s", syntax.Error())
	}
	switch {
	case errors.Is(err, jsonread.ErrEmpty):
		return bad(prefix + "it is empty")
	case errors.Is(err, jsonread.ErrTooLong):
		return bad(prefix + "a key of it is too long")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return bad(prefix + "it breaks off before its end")
	}
	return err
}
