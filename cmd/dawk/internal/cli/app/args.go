package app

import (
	"dawk/cmd/dawk/internal/show"
	"dawk/relay"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// KnownCommand refuses what no command is called, with the likeliest meant. It
// serves the program itself and the commands that only hold others.
func KnownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	within, hint := "", "`dawk help` lists them"
	if cmd.HasParent() {
		within, hint = cmd.CommandPath()+" ", fmt.Sprintf("`%s --help` lists them", cmd.CommandPath())
	}
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = fmt.Sprintf("did you mean %q?", within+near[0])
	}
	return fmt.Errorf("there is no command %q; %s", within+relay.Clip(args[0]), hint)
}

// NoArguments is for commands that take flags only.
func NoArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("`%s` takes no arguments, but got %q; `%[1]s --help` says what it takes", cmd.CommandPath(), relay.Clip(args[0]))
}

// Arguments is for commands that take from least to most of them, which usage
// names as their help does.
func Arguments(least, most int, usage string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && len(args) <= most {
			return nil
		}
		return fmt.Errorf("write `%s %s`; this has %s", cmd.CommandPath(), usage, show.Plural(len(args), "argument"))
	}
}

// WrongFlag says what is wrong with a flag without the words of Go.
func WrongFlag(cmd *cobra.Command, err error) error {
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		f := invalid.GetFlag()
		kind := map[string]string{"int": "a whole number", "duration": "a time such as 90s or 5m", "bool": "true or false"}[f.Value.Type()]
		if kind == "" {
			kind = "a " + f.Value.Type()
		}
		return fmt.Errorf("--%s takes %s, not %q", f.Name, kind, relay.Clip(invalid.GetValue()))
	}
	if missing, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return fmt.Errorf("--%s needs a value after it: %s", missing.GetFlag().Name, missing.GetFlag().Usage)
	}
	return fmt.Errorf("%s; `%s --help` lists the flags", strings.TrimSuffix(err.Error(), "."), cmd.CommandPath())
}

// OneID checks the arguments of a command about one message.
func OneID(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%s needs one queue ID, such as 1RK3ZC8Q9D4-7ABC: it is in the client's 250 reply, in the log under qid, and in dawk queue list", cmd.CommandPath())
	}
	return nil
}
