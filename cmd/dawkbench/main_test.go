package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dawk/cmd/dawkbench/load"
)

// The test binary is a relay itself when it is started as a --peer.
func TestMain(m *testing.M) {
	if dir := os.Getenv("DAWKBENCH_DIR"); dir != "" && len(os.Args) > 1 && os.Args[1] == "limit" {
		fmt.Fprintln(os.Stderr, serveLimit(context.Background(), dir, os.Getenv("DAWKBENCH_LISTEN"), os.Getenv("DAWKBENCH_SINK"), len(os.Args) > 2, len(os.Args) > 3))
		os.Exit(1)
	} else if dir != "" {
		fmt.Fprintln(os.Stderr, toyRelay(dir, os.Getenv("DAWKBENCH_LISTEN"), os.Getenv("DAWKBENCH_SINK"), os.Getenv("TOY")))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// toyRelay hands every command to the sink and its answer back. Before the
// answer to a message it syncs a file, if its manner is "synced"; a lossy one
// keeps every tenth message to itself.
func toyRelay(dir, listen, sink, manner string) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(dir, "toy"))
	if err != nil {
		return err
	}
	count := 0
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		up, err := net.Dial("tcp", sink)
		if err != nil {
			return err
		}
		toySession(c, up, func() (swallow bool, err error) {
			if count++; manner == "synced" {
				err = errors.Join(write(file), file.Sync())
			}
			return manner == "lossy" && count%10 == 0, err
		})
		c.Close()
		up.Close()
	}
}

func write(f *os.File) error { _, err := f.WriteString("."); return err }

func toySession(c, up net.Conn, store func() (bool, error)) {
	in, out := bufio.NewReader(c), bufio.NewReader(up)
	answer := func() bool {
		for {
			line, err := out.ReadString('\n')
			io.WriteString(c, line)
			if err != nil || line[3] == ' ' {
				return err == nil
			}
		}
	}
	if !answer() {
		return
	}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if line != "DATA\r\n" {
			io.WriteString(up, line)
			if !answer() {
				return
			}
			continue
		}
		io.WriteString(c, "354 go on\r\n")
		var content strings.Builder
		for line, err = in.ReadString('\n'); err == nil && line != ".\r\n"; line, err = in.ReadString('\n') {
			content.WriteString(line)
		}
		swallow, serr := store()
		if err != nil || serr != nil {
			return
		}
		if swallow {
			io.WriteString(up, "RSET\r\n")
		} else {
			io.WriteString(up, "DATA\r\n")
			out.ReadString('\n')
			io.WriteString(up, content.String()+".\r\n")
		}
		if !answer() {
			return
		}
	}
}

func toy(t *testing.T, manner string) contender {
	t.Helper()
	t.Setenv("TOY", manner)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return other("toy", self)
}

func toyRun(t *testing.T, c contender, check bool) (*result, error) {
	t.Helper()
	w := &work{Messages: 40, Recipients: 1, Domains: 1, Size: "1KiB"}
	if err := w.parse(); err != nil {
		t.Fatal(err)
	}
	return measure(t.Context(), c, w, t.TempDir(), plan{clients: 1, warm: 5, check: check, limit: time.Minute})
}

func needStrace(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("strace", "-e", "trace=none", "true").CombinedOutput(); err != nil {
		t.Skipf("strace cannot be used here: %v %s", err, out)
	}
}

func TestRelayThatDoesNotSyncIsRefused(t *testing.T) {
	needStrace(t)
	if _, err := toyRun(t, toy(t, "unsynced"), true); !errors.Is(err, errNoSync) {
		t.Fatalf("%v, want %v", err, errNoSync)
	}
}

func TestLimitsDeliver(t *testing.T) {
	all, err := limits()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		if r, err := toyRun(t, c, false); err != nil || r.Counts != (load.Counts{Acknowledged: 45, Arrived: 45}) {
			t.Errorf("%s: %+v, %v", c.name, r, err)
		}
	}
}

func TestRelayThatSyncsIsMeasured(t *testing.T) {
	needStrace(t)
	r, err := toyRun(t, toy(t, "synced"), true)
	if err != nil {
		t.Fatal(err)
	}
	want := load.Counts{Acknowledged: 50, Arrived: 50}
	if r.Counts != want || r.AcceptRate <= 0 || r.EndRate <= 0 || r.RSS <= 0 || r.PSS <= 0 || r.Processes != 1 || r.P50 <= 0 || r.P99 < r.P50 {
		t.Errorf("%+v, want counts %+v", r, want)
	}
}

func TestSyncCallsAreCounted(t *testing.T) {
	needStrace(t)
	w := &work{Messages: 20, Recipients: 1, Domains: 1, Size: "1KiB"}
	if err := w.parse(); err != nil {
		t.Fatal(err)
	}
	n, err := countSyncs(t.Context(), toy(t, "synced"), w, t.TempDir(), 1, 20)
	if n != 1 || err != nil {
		t.Errorf("%v sync calls a message (%v), want 1", n, err)
	}
}

func TestRelayThatLosesMailIsReported(t *testing.T) {
	c := toy(t, "lossy")
	w := &work{Messages: 40, Recipients: 1, Domains: 1, Size: "1KiB"}
	if err := w.parse(); err != nil {
		t.Fatal(err)
	}
	// All of it is waited for: on what is missing, and for whom is slow.
	r, err := measure(t.Context(), c, w, t.TempDir(), plan{clients: 1, limit: 6 * time.Second})
	if err == nil || r == nil || r.Counts.Missing != 4 || !strings.Contains(err.Error(), "4 acknowledged copies never arrived") {
		t.Errorf("%+v, %v: 4 messages were kept back", r, err)
	}
}

// TestRelayThatTakesOnlyAPartIsReported: the toy hands on the sink's 550, so
// that some of the work is never done.
func TestRelayThatTakesOnlyAPartIsReported(t *testing.T) {
	w := &work{Messages: 40, Recipients: 1, Domains: 1, Size: "1KiB", Permanent: 50}
	if err := w.parse(); err != nil {
		t.Fatal(err)
	}
	r, err := measure(t.Context(), toy(t, "synced"), w, t.TempDir(), plan{clients: 1, limit: time.Minute})
	if err == nil || r == nil || r.Refused["550 5.1.1"] == 0 || !strings.Contains(err.Error(), "of 40 messages were not acknowledged") {
		t.Errorf("%+v, %v: some of the messages were refused", r, err)
	}
}

func TestWorkWithoutBoundsIsRefused(t *testing.T) {
	for _, w := range []work{
		{}, {Messages: -1000}, {Messages: load.MaxMessages + 1}, {Messages: 1 << 62, Recipients: 4},
		{Messages: load.MaxMessages, Recipients: 1000}, {Messages: 1, Recipients: -1},
		{Messages: 1, PerConnection: -1}, {Messages: 1, Domains: -1}, {Messages: 1, Delay: -1},
	} {
		w.Size = "4KiB"
		if err := w.parse(); err == nil {
			t.Errorf("%+v is taken", w)
		}
	}
}

func TestSinkAloneCountsMissingAndDuplicates(t *testing.T) {
	for name, test := range map[string]struct {
		given    []load.Arrival
		expected int
		want     string
		fails    bool
	}{
		"all":       {[]load.Arrival{{ID: 0, Whole: true}, {ID: 0, Recipient: 1, Whole: true}, {Foreign: true}}, 2, "2 copies whole, 0 damaged, 0 twice, 0 missing, 1 of others", false},
		"refused":   {[]load.Arrival{{ID: 0, Whole: true}, {ID: 1, Refused: true}, {ID: 1, Refused: true}}, 2, "1 copies whole, 0 damaged, 0 twice, 0 missing", false},
		"no number": {[]load.Arrival{{ID: 7, Whole: true}}, 0, "1 copies whole, 0 damaged, 0 twice, 0 missing", false},
		"missing":   {[]load.Arrival{{ID: 0, Whole: true}, {ID: 2, Whole: true}}, 3, "2 copies whole, 0 damaged, 0 twice, 1 missing", true},
		"for each":  {[]load.Arrival{{ID: 0, Whole: true}, {ID: 1, Whole: true}, {ID: 0, Whole: true}}, 3, "2 copies whole, 0 damaged, 1 twice, 1 missing", true},
		"damaged":   {[]load.Arrival{{ID: 0}}, 1, "0 copies whole, 1 damaged, 0 twice, 0 missing", true},
	} {
		t.Run(name, func(t *testing.T) {
			all := soleCount{seen: map[[2]int]bool{}}
			for _, a := range test.given {
				all.observe(a)
			}
			var out strings.Builder
			if err := all.print(&out, test.expected); (err != nil) != test.fails || !strings.HasPrefix(out.String(), test.want) {
				t.Errorf("%q, %v", out.String(), err)
			}
		})
	}
}

func TestParseStat(t *testing.T) {
	line := "4242 (a) b (c) S 17 4242 4242 0 -1 4194560 100 0 0 0 250 150 30 20 20 0 1 0 1000 1000000 512 18446744073709551615 0 0\n"
	if s, ok := parseStat([]byte(line)); !ok || s != (stat{pid: 4242, parent: 17, cpu: 450, rss: 512}) {
		t.Errorf("%+v %v", s, ok)
	}
	for _, bad := range []string{"", "1 (x", "1 (x) S 1 2", strings.Replace(line, " 250 ", " x ", 1)} {
		if s, ok := parseStat([]byte(bad)); ok {
			t.Errorf("%q gave %+v", bad, s)
		}
	}
}

func TestOwnTree(t *testing.T) {
	// The two are read one after the other, and the kernel's count of the first is
	// not exact: which is larger says nothing.
	u := usageOf([]int{os.Getpid()}, true)
	if u.procs < 1 || u.rss <= 0 || u.pss <= 0 || u.pss > 4*u.rss {
		t.Errorf("%+v", u)
	}
	if u := usageOf([]int{-5}, false); u != (usage{pss: -1}) {
		t.Errorf("no process has used %+v", u)
	}
}

func TestParseTrace(t *testing.T) {
	at := func(us int64) time.Time { return time.UnixMicro(us) }
	for line, want := range map[string]time.Time{
		"812 1700000000.000100 fdatasync(7)              = 0 <0.000321>":     at(1700000000000421),
		"812 1700000000.500000 <... fsync resumed>)      = 0 <0.000321>":     at(1700000000500000),
		"812 1700000000.500000 msync(0x7f, 4096, MS_SYNC) = 0 <0.000001>":    at(1700000000500001),
		"812 1700000000.500000 fsync(7 <unfinished ...>":                     {},
		"812 1700000000.500000 fsync(7) = -1 EIO (Input/output error) <0.1>": {},
		"812 1700000000.500000 +++ exited with 0 +++":                        {},
		"": {},
	} {
		got, ok := parseTrace(line)
		if ok == want.IsZero() || !want.IsZero() && got.Sub(want).Abs() > 2*time.Microsecond {
			t.Errorf("%q: %v %v, want %v", line, got, ok, want)
		}
	}
}

func TestParseSizes(t *testing.T) {
	got, err := parseSizes("4KiB:8, 64KiB:2,1000")
	if err != nil || fmt.Sprint(got) != "[{4096 8} {65536 2} {1000 1}]" {
		t.Errorf("%v %v", got, err)
	}
	for _, bad := range []string{"", "4kb", "-1", "0", "4KiB:0", "4KiB:x", "65MiB", "99999999999MiB"} {
		if s, err := parseSizes(bad); err == nil {
			t.Errorf("%q gave %v", bad, s)
		}
	}
}

func TestMediansAndRatios(t *testing.T) {
	var runs []*result
	for i, v := range []float64{9, 1, 5} {
		runs = append(runs, &result{Name: "dawk", Clients: 1, Round: i, EndRate: v, CPU: v, PSS: 100},
			&result{Name: "peer", Clients: 1, Round: i, EndRate: v / 5, CPU: 10 * v, PSS: 400})
	}
	c := &comparison{clients: []int{1, 20}}
	r := newReport(c, []contender{{name: "dawk"}, {name: "peer", relay: true}}, runs)
	if len(r.Medians) != 2 || r.Medians[0].EndRate != 5 || r.Medians[1].EndRate != 1 {
		t.Errorf("%+v", r.Medians)
	}
	if len(r.Ratios) != 1 || r.Ratios[0].End != 5 || r.Ratios[0].CPU != 0.1 || r.Ratios[0].PSS != 0.25 {
		t.Errorf("%+v", r.Ratios)
	}
	var out strings.Builder
	if err := r.print(&out); err != nil || !strings.Contains(out.String(), "peer") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestMemoryIsNoDisk(t *testing.T) {
	if _, err := os.Stat("/dev/shm"); err != nil {
		t.Skip("no file system in memory here")
	}
	if err := realDisk("/dev/shm"); err == nil {
		t.Error("a queue in memory was accepted")
	}
}
