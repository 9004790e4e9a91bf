package delivery

import "time"

// An attempt goes deep, through DNS, TLS and SMTP, and the stack of a fresh
// goroutine would be doubled and copied several times on its way: a tenth of
// the CPU of a short attempt. So whoever has made an attempt waits a little for
// another, with the stack that it has.
const workerIdle = 500 * time.Millisecond

// start has an attempt made by an idle worker, or by a new one. It never
// blocks.
func (d *Dispatcher) start(w work) {
	select {
	case d.workers <- w:
	default:
		go d.worker(w)
	}
}

func (d *Dispatcher) worker(w work) {
	idle := time.NewTimer(workerIdle)
	defer idle.Stop()
	for {
		d.attempt(w)
		idle.Reset(workerIdle)
		select {
		case w = <-d.workers:
		case <-idle.C:
			return
		case <-d.stopped:
			return
		}
	}
}
