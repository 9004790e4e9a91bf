package boltstore_test

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"dawk/queue/boltstore"
	"dawk/queue/queuetest"
)

// TestPowerCut is what a kill cannot show: the page cache is lost too. A child
// runs under strace from its first start on, which records every write, sync,
// and change of names beside what the child promises. Then the power fails at
// moments of that record: of what was not synced, any part may have reached the
// disk, in any order, sector by sector. Each such disk is opened, and all that
// was promised by then must be there.
//
// DAWK_POWER_CUTS is how many disks are tried; default 60; 0: the test is left
// out, as under the race detector, where reading the record takes half a minute.
// DAWK_SEED is where the draw begins; default: anywhere.
func TestPowerCut(t *testing.T) {
	for _, c := range []struct {
		point string
		nth   int
	}{{"answered", 60}, {"cycles", 9}} {
		t.Run(c.point, func(t *testing.T) { testPowerCut(t, c.point, c.nth) })
	}
}

func testPowerCut(t *testing.T, point string, nth int) {
	t.Parallel()
	if testing.Short() {
		t.Skip("traces a process")
	}
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("there is no strace")
	}
	cuts, _ := strconv.Atoi(cmp.Or(os.Getenv("DAWK_POWER_CUTS"), "60"))
	if cuts == 0 {
		t.Skip("DAWK_POWER_CUTS=0")
	}
	base := memoryDir(t)
	data, trace := filepath.Join(base, "data"), filepath.Join(base, "trace")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(strace, append(queuetest.StraceArgs(trace), os.Args[0])...)
	cmd.Env = append(os.Environ(), "DAWK_QUEUE_CHILD="+point, "DAWK_QUEUE_DIR="+data, fmt.Sprint("DAWK_QUEUE_NTH=", nth))
	said, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(said); lines.Scan(); {
	}
	cmd.Wait()
	if cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Skipf("strace cannot trace here: %v", cmd.ProcessState)
	}
	calls, err := queuetest.ReadTrace(trace)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d calls", len(calls))
	rng := luck(t, 3)
	var syncs []int // calls with a sync behind them
	for i := range calls[1:] {
		if calls[i+1].Syncs() {
			syncs = append(syncs, i)
		}
	}
	at := make(map[int]int) // call → disks to try there
	for n := range cuts {
		if n%2 == 0 {
			at[syncs[rng.IntN(len(syncs))]]++
		} else {
			at[rng.IntN(len(calls))]++
		}
	}
	if err := os.RemoveAll(data); err != nil { // it is followed from nothing
		t.Fatal(err)
	}
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	m, err := queuetest.NewMachine(data)
	if err != nil {
		t.Fatal(err)
	}
	promised := newPromises()
	m.Heard = func(fd int64, text string) {
		if fd == 1 {
			promised.hear(t, text)
		}
	}
	lost := 0
	for i, c := range calls {
		if err := m.Do(c); err != nil {
			t.Fatal(err)
		}
		for ; at[i] > 0; at[i]-- {
			dir := filepath.Join(base, "disk")
			n, err := m.Cut(rng, dir)
			if err != nil {
				t.Fatal(err)
			}
			if lost += n; m.Born() {
				promised.kept(t, dir)
			} else if q, err := boltstore.Open(small(dir)); err != nil {
				t.Errorf("the first start was interrupted at call %d: %v", i, err)
			} else {
				q.Close()
			}
			if t.Failed() {
				t.Fatalf("the power failed after call %d of %d: %s", i, len(calls), c)
			}
			os.RemoveAll(dir)
		}
	}
	t.Logf("%d messages accepted; %d unsynced pages were lost or torn on %d disks", len(promised.accepted), lost, cuts)
	if n := len(promised.accepted); n < 20 || lost == 0 {
		t.Errorf("the record is too poor: %d messages accepted, %d pages lost", n, lost)
	}
}
