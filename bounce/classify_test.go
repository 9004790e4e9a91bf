package bounce_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"dawk/bounce"
	"dawk/relay"
)

// realReply is one line of testdata: a real reply and its category.
type realReply struct {
	reply    relay.Reply
	want     bounce.Category
	provider string // "": none in particular
}

// readReplies reads testdata/replies.tsv and testdata/providers.tsv.
func readReplies(t testing.TB) (all []realReply) {
	for _, file := range []string{"replies.tsv", "providers.tsv"} {
		text, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
			if strings.HasPrefix(line, "#") {
				continue
			}
			var r realReply
			if file == "providers.tsv" {
				r.provider, line, _ = strings.Cut(line, "\t")
			}
			col := append(strings.SplitN(line, "\t", 5), "", "")
			code, err := strconv.Atoi(col[2])
			status, ok := relay.ParseStatus(col[3])
			if err != nil || col[3] != "" && !ok {
				t.Fatalf("%s:%d: %q", file, n+1, line)
			}
			r.want = bounce.Category(col[0])
			stage, cause, _ := strings.Cut(col[1], "/")
			r.reply = relay.Reply{Code: code, Status: status, Text: relay.Sanitize(col[4]), Stage: relay.Stage(stage), Cause: relay.Cause(cause)}
			all = append(all, r)
		}
	}
	return all
}

func TestClassifyRealReplies(t *testing.T) {
	seen := map[bounce.Category]bool{}
	providers := map[string]int{}
	for _, r := range readReplies(t) {
		if got := bounce.Classify(r.reply); got != r.want {
			t.Errorf("%s %s %v: %s, want %s", r.provider, r.reply.Stage, r.reply, got, r.want)
		}
		seen[r.want] = true
		providers[r.provider]++
	}
	for _, c := range bounce.Categories() {
		if !seen[c] {
			t.Errorf("no real reply for category %s in testdata/replies.tsv", c)
		}
	}
	for _, p := range []string{"google", "microsoft", "yahoo", "apple", "zoho", "proofpoint", "mimecast", "barracuda", "cisco", "postfix",
		"exim", "exchange", "gmx", "qq", "163"} {
		if providers[p] < 8 {
			t.Errorf("%d real replies of %s in testdata/providers.tsv", providers[p], p)
		}
	}
}

// A name inside a word must not decide.
func TestClassifyLooksAtWholeWords(t *testing.T) {
	for text, want := range map[string]bounce.Category{
		"mailbox unavailable at hosts01.example.net": bounce.BadAddress,
		"marble.example.net says no":                 bounce.Other,
	} {
		r := relay.Reply{Code: 554, Text: text, Stage: relay.StageBody}
		if got := bounce.Classify(r); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func FuzzClassify(f *testing.F) {
	for _, r := range readReplies(f) {
		f.Add(r.reply.Code, r.reply.Status.String(), string(r.reply.Stage), r.reply.Text)
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
