package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"dawk/cmd/dawk/internal/config"
)

// What is shipped beside the program bounds it, and is built from what was
// looked at: the unit has limits, the image a base that nobody can replace.
func TestShippedFilesAreHardened(t *testing.T) {
	for file, wanted := range map[string][]string{
		"../../docs/dawk.service": {`(?m)^MemoryMax=\d+[MG]$`, `(?m)^TasksMax=\d+$`, `(?m)^UMask=0077$`, `(?m)^ProtectSystem=strict$`, `(?m)^NoNewPrivileges=yes$`},
		"../../Dockerfile":        {`(?m)^FROM \S+:[\d.]+-\w+@sha256:[0-9a-f]{64} AS build$`, `(?m)^FROM scratch$`, `(?m)^USER \d+:\d+$`},
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range wanted {
			if !regexp.MustCompile(w).Match(text) {
				t.Errorf("%s has no %s", file, w)
			}
		}
	}
}

// The changelog begins with what is not released; below it each version has its date,
// the newest first, and says what changed for whom. Every tag has its section.
// .ci/package builds no version that has none.
func TestChangelog(t *testing.T) {
	text, err := os.ReadFile("../../docs/changelog.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := strings.Split(string(text), "\n## ")[1:]
	if len(sections) < 2 || !strings.HasPrefix(sections[0], "Unreleased\n") {
		t.Fatalf("%d sections, of which the first is not Unreleased", len(sections))
	}
	known := map[string]bool{}
	last := "9999-99-99"
	for i, s := range sections {
		title, _, _ := strings.Cut(s, "\n")
		if !strings.Contains(s, "| for whom | what |\n") {
			t.Errorf("%s does not say what changed for whom", title)
		}
		if i == 0 {
			continue
		}
		m := regexp.MustCompile(`^(\S+) \((\d{4}-\d\d-\d\d)\)$`).FindStringSubmatch(title)
		switch {
		case m == nil:
			t.Errorf("%q is not VERSION (DATE)", title)
			continue
		case m[2] > last:
			t.Errorf("%s stands below %s", title, last)
		case strings.HasPrefix(m[1], "0.0.0~") && m[1] != "0.0.0~"+strings.ReplaceAll(m[2], "-", ""):
			t.Errorf("%s: a version without a tag is named after its day", title)
		}
		known[m[1]], last = true, m[2]
	}
	tags, err := exec.Command("git", "tag", "--list", "v*").Output()
	if err != nil {
		t.Skipf("no repository, no tags: %v", err)
	}
	for tag := range strings.FieldsSeq(string(tags)) {
		if !known[strings.TrimPrefix(tag, "v")] {
			t.Errorf("the changelog has no section for %s", tag)
		}
	}
}

// The whole configuration of README.md and of each recipe is taken by `dawk config check`
// as it stands, with the files that it names in place.
func TestRecipesPassConfigCheck(t *testing.T) {
	_, list, _ := strings.Cut(read(t, "../../docs/README.md"), "\n## Recipes\n")
	list, _, _ = strings.Cut(list, "\n## ")
	certificate, key := pair(t)
	files, checked := []string{"README.md"}, 0
	for _, recipe := range regexp.MustCompile(`\]\(([\w-]+\.md)\) \|`).FindAllStringSubmatch(list, -1) {
		files = append(files, "docs/"+recipe[1])
	}
	for _, file := range files {
		block := regexp.MustCompile("(?s)\n```toml\n(.*?)\n```").FindStringSubmatch(read(t, "../../"+file))
		if block == nil {
			continue
		}
		checked++
		dir := t.TempDir()
		text := regexp.MustCompile(`"(/(?:etc|var|run|usr)/)`).ReplaceAllString(block[1], `"`+dir+`$1`)
		for _, m := range regexp.MustCompile(`(?m)^((?:\w+_)?file|certificate|key|aliases) *= *"([^"]+)"`).FindAllStringSubmatch(text, -1) {
			if err := os.MkdirAll(filepath.Dir(m[2]), 0o700); err != nil {
				t.Fatal(err)
			}
			content := "correct horse\n"
			switch m[1] {
			case "file", "aliases":
				content = "# nobody yet\n"
			case "certificate":
				content = certificate
			case "key":
				content = key
			}
			if err := os.WriteFile(m[2], []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := config.Check(filepath.Join(dir, "dawk.toml"), []byte(text)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	if checked < 9 {
		t.Errorf("only %d recipes have a configuration", checked)
	}
}

// pair is a certificate and its key, which is one for DKIM, too; both as PEM.
func pair(t *testing.T) (certificate, key string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"relay.example.org"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, public, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	encoded := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return encoded("CERTIFICATE", der), encoded("PRIVATE KEY", pkcs8)
}
