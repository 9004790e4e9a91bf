package relay

import (
	"errors"
	"sync"
	"time"
)

// ErrCut: the attempt was cut before the final dot.
var ErrCut = errors.New("the attempt was cut")

// Progress is how far a delivery attempt is. The transport notes it; anybody may
// look, and may cut the attempt as long as the final dot is not on its way. All
// methods may be called from any goroutine, those of the transport also on nil.
type Progress struct {
	mu    sync.Mutex
	now   Stand
	final bool   // the final dot is on its way, or was answered
	end   func() // ends the context of the attempt
	cut   bool
}

// Stand is where an attempt stands.
type Stand struct {
	Host  string    // "": none was turned to
	Stage Stage     //
	Since time.Time // of Stage at Host
	Heard time.Time // when a host last answered or took octets; else when the attempt began
}

// NewProgress is for an attempt that begins now and that end ends.
func NewProgress(end func()) *Progress {
	now := time.Now()
	return &Progress{end: end, now: Stand{Since: now, Heard: now}}
}

// Stand is where the attempt stands, and whether it may be cut.
func (p *Progress) Stand() (s Stand, mayCut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now, !p.final && !p.cut
}

// Cut ends the attempt, unless its final dot is on its way: then it says false.
func (p *Progress) Cut() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.final && !p.cut {
		p.cut = true
		p.end()
	}
	return p.cut
}

// WasCut says whether somebody cut the attempt.
func (p *Progress) WasCut() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cut
}

// At notes that the attempt has come to a stage with a host.
func (p *Progress) At(host string, stage Stage) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now.Host != host || p.now.Stage != stage {
		p.now.Host, p.now.Stage, p.now.Since = host, stage, time.Now()
	}
	p.final = p.final && stage == StageBody
}

// Heard notes that the host answered, or took octets.
func (p *Progress) Heard() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now.Heard = time.Now()
}

// Final asks for leave to send the final dot; from then on the attempt cannot be
// cut. The error is ErrCut.
func (p *Progress) Final() error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		return ErrCut
	}
	p.final = true
	return nil
}
