package relay

import (
	"errors"
	"fmt"
	"slices"
)

// Fault is one thing that is wrong with a setting. The package that owns the
// setting finds it and names the key; whoever read the file knows the place.
type Fault struct {
	// Key is the key below the section that was checked, as it is written in
	// the file: "retry", "timeouts.connect", "trusted_networks[2]" for the third
	// of a list. "" is the section itself.
	Key string
	// Text says what is wrong, with the value, and what to write instead, in one
	// sentence without a full stop.
	Text string
}

func (f Fault) Error() string { return f.Text }

// Faults are all that is wrong with some settings.
type Faults []Fault

// Add adds one for a key. The text is made as by fmt.Sprintf.
func (f *Faults) Add(key, format string, args ...any) {
	*f = append(*f, Fault{Key: key, Text: fmt.Sprintf(format, args...)})
}

// Within adds the faults of a part, of which subject is the name for people.
func (f *Faults) Within(subject string, part Faults) {
	for _, one := range part {
		one.Text = subject + ": " + one.Text
		*f = append(*f, one)
	}
}

// OneOf adds a fault unless value is one of those allowed.
func (f *Faults) OneOf(key, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		f.Add(key, "%s = %q is not one of %q", key, value, allowed)
	}
}

// Err is nil without faults, else an error of all of them.
func (f Faults) Err() error {
	var errs []error
	for _, one := range f {
		errs = append(errs, one)
	}
	return errors.Join(errs...)
}
