package relay

// Fault is one thing that is wrong with a setting. The package that owns the
// setting finds it and names the key; whoever read the file knows the place.
type Fault struct {
	// Key is the key below the section that was checked, as it is written in
	// the file: "retry", "timeouts.connect", "trusted_networks[2]" for the third
	// of a list. "" is the section itself.
	Key string
	// Text says what is wrong, with the value, in one sentence without a full
	// stop.
	Text string
	// Fix says what to write instead; "" where Text leaves no doubt.
	Fix string
}

// Error is Text and Fix as one sentence.
func (f Fault) Error() string {
	if f.Fix == "" {
		return f.Text
	}
	return f.Text + ": " + f.Fix
}
