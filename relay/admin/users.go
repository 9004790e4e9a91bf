package admin

import (
	"errors"
	"net/http"
	"time"

	"dawk/relay/admin/api"
	"dawk/relay/admin/devices"
	"dawk/relay/identity"
)

var errNoDevices = errors.New(`no listener has profile = "device", so there is no table of devices`)

// UserHold is a user whose new mail begins on hold.
type UserHold struct {
	Name   string    `json:"name"`
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
	Rule   string    `json:"rule"` // for people
}

// ErrNotHeld: the user is not on hold.
var ErrNotHeld = errors.New("not on hold")

// holds answers GET /v1/holds.
func (h *handler) holds(w http.ResponseWriter, _ *http.Request) {
	list := []UserHold{}
	if h.Holds != nil {
		list = append(list, h.Holds()...)
	}
	api.Answer(w, http.StatusOK, list)
}

// releaseUser answers POST /v1/holds/release?name= with the hold that ended.
func (h *handler) releaseUser(w http.ResponseWriter, r *http.Request) {
	hold, err := h.ReleaseUser(r.URL.Query().Get("name"))
	switch {
	case errors.Is(err, ErrNotHeld):
		api.Fail(w, http.StatusNotFound, err)
	case err != nil:
		api.Fail(w, http.StatusInternalServerError, err)
	default:
		api.Answer(w, http.StatusOK, hold)
	}
}

// Identity is somebody who may send.
type Identity struct {
	Name     string          `json:"name"`
	Senders  []string        `json:"senders,omitempty"` // whom it may send as; empty: anybody
	Hold     *UserHold       `json:"hold,omitempty"`
	Quotas   []identity.Left `json:"quotas,omitempty"`
	Messages int             `json:"messages"`      // accepted since the relay started
	Last     time.Time       `json:"last,omitzero"` // when the last one was accepted
}

// identities answers GET /v1/identities.
func (h *handler) identities(w http.ResponseWriter, _ *http.Request) {
	api.Answer(w, http.StatusOK, append([]Identity{}, h.Identities()...))
}

// What is known of devices.
type (
	Device  = devices.Device
	Devices = devices.Devices
)

// NewDevices watches the listeners of these names.
func NewDevices(listeners []string) *Devices { return devices.New(listeners) }

// devices answers GET /v1/devices.
func (h *handler) devices(w http.ResponseWriter, _ *http.Request) {
	if h.Devices == nil || !h.Devices.Watches() {
		api.Fail(w, http.StatusNotImplemented, errNoDevices)
		return
	}
	api.Answer(w, http.StatusOK, h.Devices.List())
}
