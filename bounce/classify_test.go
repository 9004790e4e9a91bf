package bounce_test

import (
	"bufio"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"dawk/bounce"
	"dawk/relay"
)

// readReplies reads testdata/replies.tsv: real replies and their category.
func readReplies(t testing.TB) map[relay.Reply]bounce.Category {
	f, err := os.Open("testdata/replies.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := map[relay.Reply]bounce.Category{}
	in := bufio.NewScanner(f)
	for n := 1; in.Scan(); n++ {
		if strings.HasPrefix(in.Text(), "#") {
			continue
		}
		col := append(strings.SplitN(in.Text(), "\t", 5), "", "")
		code, err := strconv.Atoi(col[2])
		status, ok := relay.ParseStatus(col[3])
		if err != nil || col[3] != "" && !ok {
			t.Fatalf("replies.tsv line %d: %q", n, in.Text())
		}
		out[relay.Reply{Code: code, Status: status, Text: relay.Sanitize(col[4]), Stage: relay.Stage(col[1])}] = bounce.Category(col[0])
	}
	return out
}

func TestClassifyRealReplies(t *testing.T) {
	seen := map[bounce.Category]bool{}
	for reply, want := range readReplies(t) {
		if got := bounce.Classify(reply); got != want {
			t.Errorf("%s %v: %s, want %s", reply.Stage, reply, got, want)
		}
		seen[want] = true
	}
	for _, c := range bounce.Categories() {
		if !seen[c] {
			t.Errorf("no real reply for category %s in testdata/replies.tsv", c)
		}
	}
}

// A name inside a word must not decide.
func TestClassifyLooksAtWholeWords(t *testing.T) {
	for text, want := range map[string]bounce.Category{
		"mailbox unavailable at hosts01.example.net": bounce.BadAddress,
		"marble.example.net says no":                 bounce.Policy,
	} {
		r := relay.Reply{Code: 554, Text: text, Stage: relay.StageBody}
		if got := bounce.Classify(r); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func FuzzClassify(f *testing.F) {
	for r := range readReplies(f) {
		f.Add(r.Code, r.Status.String(), string(r.Stage), r.Text)
	}
	all := bounce.Categories()
	f.Fuzz(func(t *testing.T, code int, status, stage, text string) {
		s, _ := relay.ParseStatus(status)
		got := bounce.Classify(relay.Reply{Code: code, Status: s, Stage: relay.Stage(stage), Text: text})
		if !slices.Contains(all, got) {
			t.Fatalf("%q is no category", got)
		}
	})
}

func BenchmarkClassify(b *testing.B) {
	r := relay.Reply{Code: 550, Text: strings.Repeat("some words that no rule knows ", 8), Stage: relay.StageBody}
	for b.Loop() {
		bounce.Classify(r)
	}
}
