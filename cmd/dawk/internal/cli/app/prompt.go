package app

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"dawk/relay/identity"
)

// NewPassword asks for a password, twice on a terminal, and hashes it.
func (a *App) NewPassword(name string) (hash string, err error) {
	var password string
	if f, ok := a.Stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		password, err = a.askPassword(int(f.Fd()), name)
	} else {
		password, err = firstLine(a.Stdin)
	}
	if err != nil {
		return "", err
	}
	return identity.HashPassword(password)
}

// askPassword asks twice.
func (a *App) askPassword(fd int, name string) (string, error) {
	typed, err := a.AskHidden(fd, "Password for "+name+" (at least 8 characters): ", "The same once more: ")
	if err != nil {
		return "", err
	}
	if typed[0] != typed[1] {
		return "", errors.New("the two passwords differ; nothing was changed")
	}
	return typed[0], nil
}

// AskHidden asks for secrets at a terminal, a prompt each. The terminal is in
// raw mode before the first prompt appears, so that nothing typed early is
// echoed, and whatever ends the prompt, ^C included, the terminal is put back.
func (a *App) AskHidden(fd int, prompts ...string) ([]string, error) {
	old, err := term.MakeRaw(fd)
	if err != nil {
		return nil, fmt.Errorf("prepare the terminal for a secret: %w", err)
	}
	defer term.Restore(fd, old)
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{a.Stdin, a.Terminal}, "")
	typed := make([]string, len(prompts))
	for i, prompt := range prompts {
		typed[i], err = t.ReadPassword(prompt)
		if errors.Is(err, io.EOF) { // ^C or ^D
			fmt.Fprint(a.Terminal, "\r\n")
			return nil, errors.New("stopped; nothing was changed")
		}
		if err != nil {
			return nil, fmt.Errorf("reading from the terminal: %w", err)
		}
	}
	return typed, nil
}

// firstLine reads a password that comes by a pipe.
func firstLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	if line == "" {
		return "", errors.New("there is no password on standard input: its first line is the password")
	}
	return line, nil
}
