package server

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// statusEvery is how often the service manager is told how the relay is, where it
// does not ask for more.
const statusEvery = 30 * time.Second

// notifyLimit is how long a service manager that reads nothing may keep the relay
// waiting: what it cannot take by then it is not told.
const notifyLimit = time.Second

// notify tells the service manager, if there is one (sd_notify(3)).
func notify(state string) {
	at := os.Getenv("NOTIFY_SOCKET")
	if at == "" {
		return
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: at, Net: "unixgram"})
	if err != nil {
		return // it has gone
	}
	defer c.Close()
	_ = c.SetWriteDeadline(time.Now().Add(notifyLimit))
	c.Write([]byte(state)) //nolint:errcheck // likewise
}

// notifyReloading begins what notifyReady ends.
func notifyReloading(status string) {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) == nil {
		notify(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d\nSTATUS=%s", now.Nano()/1000, status))
	}
}

func (s *Server) notifyReady() { notify("READY=1\nSTATUS=" + s.statusLine()) }

// statusLine is the relay in one line, for systemctl status.
func (s *Server) statusLine() string {
	b := s.dispatcher.Backlog()
	if s.running.draining() {
		return fmt.Sprintf("draining: %d deliveries are due", s.dispatcher.Left())
	}
	return fmt.Sprintf("%d deliveries wait, %d are attempted, %d clients", b.Total-b.Active, b.Active, s.smtp.Connections())
}

// keepNotified tells the service manager how the relay is until ctx ends, and, as
// often as it asks for that, that the relay lives: whoever waits for the locks of
// a part that is stuck tells nothing, and is started again.
func (s *Server) keepNotified(ctx context.Context) {
	every := statusEvery
	limit, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	watched := err == nil && limit > 0 && (os.Getenv("WATCHDOG_PID") == "" || os.Getenv("WATCHDOG_PID") == strconv.Itoa(os.Getpid()))
	if watched {
		every = min(every, time.Duration(limit)*time.Microsecond/2)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if state := "STATUS=" + s.statusLine(); !watched {
			notify(state)
		} else if s.alive() == nil {
			notify("WATCHDOG=1\n" + state)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
