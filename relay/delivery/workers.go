package delivery

import "time"

// An attempt has deep calls, through DNS, TLS and SMTP, and the stack of a new goroutine would be
// doubled and copied several times: a tenth of the CPU of a short attempt. So a goroutine that has
// made an attempt waits a little for another, to reuse its stack.
const workerIdle = 500 * time.Millisecond

// start gives an attempt to an idle worker, or to a new one. It never blocks.
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
