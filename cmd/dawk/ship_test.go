package main_test

import (
	"os"
	"regexp"
	"testing"
)

// What is shipped beside the program bounds it, and is built from what was
// looked at: the unit has limits, the image a base that nobody can replace.
func TestShippedFilesAreHardened(t *testing.T) {
	for file, wanted := range map[string][]string{
		"../../docs/dawk.service": {`(?m)^MemoryMax=\d+[MG]$`, `(?m)^TasksMax=\d+$`, `(?m)^UMask=0077$`, `(?m)^ProtectSystem=strict$`, `(?m)^NoNewPrivileges=yes$`},
		"../../Dockerfile":        {`(?m)^FROM \S+:[\d.]+-\w+@sha256:[0-9a-f]{64} AS build$`, `(?m)^FROM scratch$`, `(?m)^USER \d+:\d+$`},
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range wanted {
			if !regexp.MustCompile(w).Match(text) {
				t.Errorf("%s has no %s", file, w)
			}
		}
	}
}
