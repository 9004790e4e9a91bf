// Command dawk is an outbound mail relay: it accepts mail over SMTP, keeps it
// in a durable queue and delivers it with retries and bounces.
//
//	internal/cli      the commands, and packages of the large ones; begin reading at cli.Run
//	internal/config   the configuration file
//	internal/server   builds, runs and stops the relay (dawk serve)
//	internal/check    dawk check, dawk oauth test
//	internal/explain  dawk explain, dawk probe, and the prose of dawk why
//	internal/demo     dawk demo
//	internal/show     how commands print
package main

import (
	"os"

	"dawk/cmd/dawk/internal/cli"
)

func main() {
	if cli.CalledAsSendmail(os.Args[0]) {
		os.Exit(cli.RunSendmail(os.Args[0], os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(cli.Run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
