// Command interop proves dawk against programs that other people wrote: it
// sends with swaks, s-nail, msmtp, curl, Python and openssl, receives with
// Postfix and smtp-sink, and compares what arrived, byte by byte, with what
// the client put on the wire. It kills the relay, fails its disk and fills it,
// and counts what was promised against what arrived.
//
// Run it from the repository's root, as root (Postfix and mount need that):
//
//	go run ./.ci/interop [-run REGEXP] [-rounds 25] [-v] [-keep] [-dawk FILE]
//
// Everything stays on loopback and in one temporary directory.
package main

import (
	"context"
	"dawk/.ci/interop/lab"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
)

func main() {
	var (
		filter  = flag.String("run", "", "run only the cases whose group/name matches this regular expression")
		rounds  = flag.Int("rounds", 25, "rounds of the kill -9 test")
		verbose = flag.Bool("v", false, "print what each case notes, and the programs' output")
		keep    = flag.Bool("keep", false, "keep the temporary directory")
		binary  = flag.String("dawk", "", "an already built dawk; default: build ./cmd/dawk")
		seed    = flag.Uint64("seed", 1, "seed of the moments at which processes are killed")
	)
	flag.Parse()
	re, err := regexp.Compile(*filter)
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop: -run:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	failed, err := run(ctx, re, lab.Settings{Rounds: *rounds, Verbose: *verbose, Keep: *keep, Binary: *binary, Seed: *seed})
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
	if failed > 0 {
		os.Exit(1)
	}
}

// run builds the world, runs every case that re matches, and takes the world
// down again whatever happened.
func run(ctx context.Context, re *regexp.Regexp, set lab.Settings) (failed int, err error) {
	w, err := lab.NewWorld(ctx, set)
	if err != nil {
		return 0, err
	}
	defer func() {
		if e := w.Close(); err == nil {
			err = e
		}
	}()
	s := &lab.Suite{Ctx: ctx, Filter: re, Verbose: set.Verbose}
	for _, group := range []struct {
		name  string
		cases []lab.TestCase
	}{
		{"login", loginCases()},
		{"door", doorCases()},
		{"local", localCases()},
		{"real", append(realCases(), programCases()...)},
		{"hop", hopCases()},
		{"bad", badCases()},
		{"start", startCases()},
		{"bounce", bounceCases()},
		{"notice", noticeCases()},
		{"dkim", dkimCases()},
		{"dane", daneCases()},
		{"dns", dnsCases()},
		{"receiver", receiverCases()},
		{"oldtls", oldTLSCases()},
		{"operate", operateCases()},
		{"crash", crashCases()},
		{"webhook", webhookCases()},
		{"disk", diskCases()},
		{"after", afterCases()},
	} {
		s.Run(w, group.name, group.cases)
	}
	return s.Report(os.Stdout), nil
}
