package main_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// withRaceOptions gives the programs of a script what TestMain says to the race detector.
func withRaceOptions(env *testscript.Env) error {
	env.Setenv("GORACE", os.Getenv("GORACE"))
	return nil
}

// TestScripts runs testdata/script: one behaviour a file, named after it.
func TestScripts(t *testing.T) {
	cmds := oauthCommands(relayCommands())
	page, err := filepath.Abs("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	cmds["symptom"] = symptomCommand(page)
	testscript.Run(t, testscript.Params{
		Dir:       "testdata/script",
		Cmds:      cmds,
		Condition: condition,
		Setup:     withRaceOptions,
	})
}
