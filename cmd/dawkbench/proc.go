package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ticks are what /proc counts CPU time in: USER_HZ is 100 on every Linux.
const ticks = 100

// usage is what a tree of processes has used.
type usage struct {
	cpu   float64 // seconds, of children that have ended too
	rss   int64   // octets, shared pages counted for each process
	pss   int64   // octets, shared pages divided; -1: not looked at
	anon  int64   // of pss, what is no file's: mapped pages of files the system takes back when it needs them
	procs int
}

// stat is one line of /proc/PID/stat.
type stat struct {
	pid, parent int
	cpu         int64 // ticks, with children that were waited for
	rss         int64 // pages
}

// parseStat reads a line of /proc/PID/stat. The name in parentheses may hold
// anything, parentheses too.
func parseStat(b []byte) (s stat, ok bool) {
	end := bytes.LastIndexByte(b, ')')
	if end < 0 {
		return s, false
	}
	pid, _, _ := bytes.Cut(b, []byte(" "))
	f := strings.Fields(string(b[end+1:]))
	if len(f) < 22 {
		return s, false
	}
	// Numbers of proc(5), from 3 on: state, ppid 4, utime 14, stime, cutime, cstime 17, rss 24.
	field := func(n int) int64 { v, err := strconv.ParseInt(f[n-3], 10, 64); ok = ok && err == nil; return v }
	ok = true
	id, err := strconv.Atoi(string(pid))
	s = stat{pid: id, parent: int(field(4)), cpu: field(14) + field(15) + field(16) + field(17), rss: field(24)}
	return s, ok && err == nil
}

// tree is all processes below the roots, the roots included.
func tree(roots []int) []stat {
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is right
	children := map[int][]stat{}
	all := map[int]stat{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		if s, ok := parseStat(b); ok {
			all[s.pid] = s
			children[s.parent] = append(children[s.parent], s)
		}
	}
	var found []stat
	var walk func(stat)
	walk = func(s stat) {
		found = append(found, s)
		for _, c := range children[s.pid] {
			walk(c)
		}
	}
	for _, pid := range roots {
		if s, ok := all[pid]; ok {
			walk(s)
		}
	}
	return found
}

func usageOf(roots []int, withPSS bool) usage {
	u := usage{pss: -1}
	if withPSS {
		u.pss = 0
	}
	for _, s := range tree(roots) {
		u.procs++
		u.cpu += float64(s.cpu) / ticks
		u.rss += s.rss * int64(os.Getpagesize())
		if withPSS {
			pss, anon := memoryOf(s.pid)
			u.pss += pss
			u.anon += anon
		}
	}
	return u
}

// memoryOf is 0 for a process that has ended meanwhile.
func memoryOf(pid int) (pss, anon int64) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	for line := range strings.SplitSeq(string(b), "\n") {
		name, rest, _ := strings.Cut(line, ":")
		kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		switch name {
		case "Pss":
			pss = kib << 10
		case "Pss_Anon":
			anon = kib << 10
		}
	}
	return pss, anon
}

// sampler keeps the peaks of a tree's memory while a run goes on.
type sampler struct {
	stop chan struct{}
	wg   sync.WaitGroup
	peak usage
}

// sampleEvery is often enough for memory, which grows slowly, and costs less
// than a hundredth of a CPU with 200 processes.
const sampleEvery = 250 * time.Millisecond

func startSampler(roots []int) *sampler {
	s := &sampler{stop: make(chan struct{})}
	s.wg.Go(func() {
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for n := 0; ; n++ {
			s.look(usageOf(roots, n%4 == 0))
			select {
			case <-tick.C:
			case <-s.stop:
				s.look(usageOf(roots, true))
				return
			}
		}
	})
	return s
}

func (s *sampler) look(u usage) {
	s.peak.rss, s.peak.pss, s.peak.anon, s.peak.procs = max(s.peak.rss, u.rss), max(s.peak.pss, u.pss), max(s.peak.anon, u.anon), max(s.peak.procs, u.procs)
}

func (s *sampler) end() usage {
	close(s.stop)
	s.wg.Wait()
	return s.peak
}

// machine is what all CPUs together have done, in seconds.
type machine struct{ busy, total float64 }

func readMachine() machine {
	b, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(b), "\n")
	var m machine
	for i, f := range strings.Fields(line) {
		if i == 0 || i > 8 { // guest time is part of user time
			continue
		}
		v, _ := strconv.ParseFloat(f, 64)
		m.total += v / ticks
		if i != 4 && i != 5 { // idle and iowait
			m.busy += v / ticks
		}
	}
	return m
}

// flushes counts the flush requests of all disks; ok is false on kernels
// before 5.5, which don't.
func flushes() (n int64, ok bool) {
	b, err := os.ReadFile("/proc/diskstats")
	if err != nil {
		return 0, false
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		f := strings.Fields(line)
		if len(f) < 20 {
			continue
		}
		if _, err := os.Stat("/sys/block/" + f[2]); err != nil {
			continue // a partition: counted with its disk
		}
		v, err := strconv.ParseInt(f[18], 10, 64)
		ok = ok || err == nil
		n += v
	}
	return n, ok
}
