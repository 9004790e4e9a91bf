// Package app is what the commands share: where the configuration is, what they read
// and write, their arguments, and the client of a relay that runs. It has no
// goroutines. Begin reading at App.
package app

import (
	"context"
	"errors"
	"io"

	"dawk/cmd/dawk/internal/show"
)

// App is what every command shares: where the configuration is, and what the
// command reads and writes.
type App struct {
	ConfigPath     string   // -c; "": see config.Load
	Args           []string // of the program
	Stdin          io.Reader
	Stdout, Stderr io.Writer // both show what strangers wrote: see show.NewEscaped
	Raw            io.Writer // standard output, octet by octet: for content and dialogues
	Terminal       io.Writer // standard error, octet by octet: for prompts
}

// ErrReported ends a command with exit status 1 when it has said why already.
var ErrReported = errors.New("already reported")

// Exit ends a command with another exit status than 1.
type Exit struct {
	Status int
	Err    error // what it says before; ErrReported: it has said it
}

func (e *Exit) Error() string { return e.Err.Error() }
func (e *Exit) Unwrap() error { return e.Err }

// New is what a command of the program has: its output is escaped, Raw and Terminal are not.
func New(stdin io.Reader, stdout, stderr io.Writer) *App {
	return &App{Stdin: stdin, Stdout: show.NewEscaped(stdout), Stderr: show.NewEscaped(stderr), Raw: stdout, Terminal: stderr}
}

// OrBackground is ctx, which is nil where a test runs a command without one.
func OrBackground(ctx context.Context) context.Context {
	if ctx == nil {
		return context.Background()
	}
	return ctx
}
