package mxtest

import (
	"encoding/base64"
	"strings"
)

// cutPath takes "FROM:<a@b> SIZE=1" apart.
func cutPath(args, prefix string) (path, params string, ok bool) {
	if len(args) < len(prefix) || !strings.EqualFold(args[:len(prefix)], prefix) {
		return "", "", false
	}
	rest := strings.TrimSpace(args[len(prefix):])
	quoted := false
	for i := range len(rest) {
		switch {
		case rest[i] == '"' && (i == 0 || rest[i-1] != '\\'):
			quoted = !quoted
		case rest[i] == '>' && !quoted && rest[0] == '<':
			return rest[1:i], strings.TrimSpace(rest[i+1:]), true
		}
	}
	return "", "", false
}

func decode64(s string) string {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return ""
	}
	return string(b)
}
