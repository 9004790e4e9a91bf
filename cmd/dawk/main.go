// Command dawk is an outbound mail relay: it accepts mail over SMTP, keeps it
// in a durable queue and delivers it with retries and bounces.
package main

import "os"

func main() {
	if calledAsSendmail(os.Args[0]) {
		os.Exit(runSendmail(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
