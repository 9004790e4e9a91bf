package main_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mayImport is the architecture: what of dawk each package may import, and
// which third-party modules. Arrows run strictly downward; packages of one
// level never import each other. See docs/internals/architecture.md.
var mayImport = map[string]struct{ dawk, others []string }{
	"dawk/relay": {nil, []string{"golang.org/x/net/idna"}},

	"dawk/relay/filter": {[]string{"dawk/relay"}, nil},

	"dawk/relay/limits":       {nil, nil},
	"dawk/relay/limits/share": {nil, nil},

	"dawk/relay/socket": {nil, []string{"golang.org/x/sys/unix"}},

	"dawk/relay/acme": {[]string{"dawk/relay", "dawk/relay/durable"}, []string{"golang.org/x/crypto/acme", "golang.org/x/net/publicsuffix", "github.com/libdns/libdns", "github.com/libdns/cloudflare", "github.com/libdns/rfc2136"}},

	"dawk/relay/durable": {nil, []string{"golang.org/x/sys/unix"}},

	"dawk/queue":               {[]string{"dawk/relay"}, nil},
	"dawk/queue/record":        {[]string{"dawk/relay"}, nil},
	"dawk/queue/journal":       {[]string{"dawk/queue", "dawk/relay/durable"}, []string{"golang.org/x/sys/unix"}},
	"dawk/queue/outbox":        {[]string{"dawk/queue", "dawk/queue/journal", "dawk/queue/record", "dawk/relay", "dawk/relay/durable"}, nil},
	"dawk/queue/boltstore":     {[]string{"dawk/queue", "dawk/queue/outbox", "dawk/queue/boltstore/boltfile", "dawk/queue/boltstore/datadir", "dawk/queue/boltstore/space", "dawk/queue/change", "dawk/queue/journal", "dawk/queue/recent", "dawk/queue/record", "dawk/relay", "dawk/relay/durable"}, []string{"go.etcd.io/bbolt"}},
	"dawk/queue/postgres/dsn":  {[]string{"dawk/relay/durable"}, []string{"github.com/jackc/pgx/v5"}},
	"dawk/queue/postgres/wish": {[]string{"dawk/queue", "dawk/relay"}, []string{"github.com/jackc/pgx/v5"}},
	"dawk/queue/postgres":      {[]string{"dawk/queue", "dawk/queue/postgres/dsn", "dawk/queue/postgres/wish", "dawk/queue/change", "dawk/queue/recent", "dawk/queue/record", "dawk/relay", "dawk/relay/durable", "dawk/relay/limits/share"}, []string{"github.com/jackc/pgx/v5"}},

	"dawk/queue/common": {[]string{"dawk/relay/limits"}, []string{"github.com/jackc/pgx/v5"}},

	"dawk/queue/postgres/postgrestest": {nil, []string{"golang.org/x/sys/unix"}}, // test support

	"dawk/queue/change":             {[]string{"dawk/queue/record", "dawk/relay"}, nil},
	"dawk/queue/recent":             {[]string{"dawk/queue/record", "dawk/relay"}, nil},
	"dawk/queue/boltstore/datadir":  {[]string{"dawk/queue", "dawk/queue/outbox", "dawk/queue/boltstore/boltfile", "dawk/queue/journal", "dawk/queue/record", "dawk/relay", "dawk/relay/durable"}, []string{"go.etcd.io/bbolt", "golang.org/x/sys/unix"}},
	"dawk/queue/boltstore/space":    {[]string{"dawk/queue", "dawk/queue/boltstore/boltfile", "dawk/queue/journal", "dawk/relay"}, []string{"go.etcd.io/bbolt", "golang.org/x/sys/unix"}},
	"dawk/queue/boltstore/boltfile": {[]string{"dawk/queue"}, nil},
	"dawk/queue/queuetest":          {[]string{"dawk/queue", "dawk/relay"}, []string{"pgregory.net/rapid", "github.com/google/go-cmp/cmp"}}, // test support
	"dawk/mx":                       {[]string{"dawk/relay", "dawk/relay/limits", "dawk/relay/replies", "dawk/mx/dns", "dawk/mx/dial", "dawk/mx/tlspolicy", "dawk/relay/tlsrpt", "dawk/mx/smtpclient", "dawk/mx/shaping", "dawk/mx/letterhead", "dawk/mx/connpool", "dawk/mx/nexthop", "dawk/mx/match", "dawk/mx/survey", "dawk/mx/hosts", "dawk/mx/session"}, nil},
	"dawk/mx/hosts":                 {[]string{"dawk/relay", "dawk/mx/dial", "dawk/mx/dns", "dawk/mx/nexthop", "dawk/mx/shaping", "dawk/mx/smtpclient", "dawk/mx/tlspolicy"}, nil},
	"dawk/mx/session":               {[]string{"dawk/relay", "dawk/relay/tlsrpt", "dawk/mx/connpool", "dawk/mx/dial", "dawk/mx/hosts", "dawk/mx/shaping", "dawk/mx/smtpclient", "dawk/mx/survey", "dawk/mx/tlspolicy"}, nil},
	"dawk/mx/match":                 {[]string{"dawk/relay"}, nil},
	"dawk/mx/nexthop":               {[]string{"dawk/relay"}, nil},
	"dawk/mx/dial":                  {[]string{"dawk/relay", "dawk/mx/dns"}, nil},
	"dawk/mx/tlspolicy":             {[]string{"dawk/relay", "dawk/mx/dns", "dawk/mx/dial", "dawk/relay/durable", "dawk/relay/tlsrpt"}, []string{"golang.org/x/sync/singleflight"}},
	"dawk/mx/smtpclient":            {[]string{"dawk/relay", "dawk/relay/mailtext", "dawk/relay/replies", "dawk/mx/dial", "dawk/mx/tlspolicy"}, nil},
	"dawk/mx/shaping":               {[]string{"dawk/relay", "dawk/relay/limits", "dawk/mx/tlspolicy", "dawk/relay/durable"}, []string{"golang.org/x/net/publicsuffix"}},
	"dawk/mx/connpool":              {[]string{"dawk/relay", "dawk/relay/replies", "dawk/mx/smtpclient", "dawk/mx/tlspolicy"}, nil},
	"dawk/mx/survey":                {[]string{"dawk/relay", "dawk/mx/dns", "dawk/mx/tlspolicy"}, nil},
	"dawk/mx/spf":                   {[]string{"dawk/relay", "dawk/mx/dns"}, []string{"blitiri.com.ar/go/spf"}},
	"dawk/mx/letterhead":            {[]string{"dawk/relay"}, nil},
	"dawk/mx/dns":                   {nil, []string{"github.com/miekg/dns", "golang.org/x/sync/singleflight"}},
	"dawk/mx/oauth":                 {[]string{"dawk/relay", "dawk/relay/durable", "dawk/relay/replies"}, []string{"golang.org/x/oauth2", "golang.org/x/sync/singleflight"}},
	"dawk/mx/mxtest":                {[]string{"dawk/relay"}, []string{"github.com/miekg/dns"}},
	"dawk/bounce":                   {[]string{"dawk/relay", "dawk/relay/replies"}, []string{"golang.org/x/text/encoding"}},
	"dawk/relay/unsubscribe":        {[]string{"dawk/relay/durable"}, nil},
	"dawk/relay/returnpath":         {[]string{"dawk/relay", "dawk/relay/durable", "dawk/relay/limits", "dawk/relay/returnpath/notice"}, nil},
	"dawk/relay/returnpath/notice":  {[]string{"dawk/relay", "dawk/relay/replies"}, nil},
	"dawk/relay/suppression":        {[]string{"dawk/relay", "dawk/relay/filter", "dawk/relay/durable", "dawk/relay/replies"}, nil},
	"dawk/relay/history":            {[]string{"dawk/relay", "dawk/relay/filter", "dawk/relay/durable"}, nil},
	"dawk/metrics":                  {[]string{"dawk/relay"}, []string{"github.com/prometheus/client_golang"}},
	"dawk/relay/tomlfile":           {[]string{"dawk/relay"}, []string{"github.com/pelletier/go-toml/v2"}},
	"dawk/relay/dkim":               {[]string{"dawk/relay", "dawk/relay/durable"}, []string{"github.com/emersion/go-msgauth/dkim"}},
	"dawk/relay/tlsrpt":             {[]string{"dawk/relay", "dawk/relay/durable"}, nil},
	"dawk/relay/identity":           {[]string{"dawk/relay", "dawk/relay/tomlfile", "dawk/relay/durable", "dawk/relay/limits"}, []string{"golang.org/x/crypto", "golang.org/x/sys/unix"}},

	"dawk/relay/sevenbit": {[]string{"dawk/relay"}, []string{"golang.org/x/text/encoding", "golang.org/x/text/transform"}},
	"dawk/relay/mailtext": {[]string{"dawk/relay"}, nil},
	"dawk/relay/replies":  {[]string{"dawk/relay"}, nil},

	"dawk/relay/accept":            {[]string{"dawk/relay", "dawk/relay/identity", "dawk/relay/mailtext"}, nil},
	"dawk/relay/accept/accepttest": {[]string{"dawk/relay"}, nil},

	"dawk/relay/submission/guard": {[]string{"dawk/relay", "dawk/relay/mailtext"}, nil},
	"dawk/relay/submission": {[]string{"dawk/relay", "dawk/relay/accept", "dawk/relay/identity", "dawk/relay/submission/guard", "dawk/relay/durable", "dawk/relay/socket"},
		[]string{"github.com/emersion/go-smtp", "github.com/emersion/go-sasl", "github.com/pires/go-proxyproto"}},
	"dawk/relay/delivery/notices":  {[]string{"dawk/relay", "dawk/bounce", "dawk/relay/limits"}, nil},
	"dawk/relay/delivery/schedule": {[]string{"dawk/relay"}, nil},
	"dawk/relay/delivery":          {[]string{"dawk/relay", "dawk/relay/replies", "dawk/bounce", "dawk/relay/delivery/schedule", "dawk/relay/delivery/notices"}, nil},
	"dawk/relay/httpapi":           {[]string{"dawk/relay", "dawk/relay/accept", "dawk/relay/identity", "dawk/relay/mailtext", "dawk/relay/durable", "dawk/relay/httpapi/jsonread"}, nil},
	"dawk/relay/httpapi/jsonread":  {nil, nil},
	"dawk/relay/sendmail":          {[]string{"dawk/relay", "dawk/relay/accept", "dawk/relay/mailtext", "dawk/relay/durable", "dawk/bounce", "dawk/relay/limits", "dawk/relay/postmaster", "dawk/relay/socket"}, []string{"golang.org/x/sys/unix"}},
	"dawk/relay/webhook":           {[]string{"dawk/relay", "dawk/relay/durable", "dawk/relay/history", "dawk/mx/dial"}, nil},
	"dawk/relay/admin/webhooks":    {[]string{"dawk/relay", "dawk/relay/webhook", "dawk/relay/admin/api", "dawk/relay/admin/audit", "dawk/relay/admin/operator"}, nil},
	"dawk/relay/postmaster":        {[]string{"dawk/relay"}, nil},
	"dawk/relay/admin":             {[]string{"dawk/relay", "dawk/relay/filter", "dawk/relay/identity", "dawk/relay/replies", "dawk/mx/oauth", "dawk/mx/shaping", "dawk/mx/survey", "dawk/relay/admin/acts", "dawk/relay/admin/api", "dawk/relay/admin/operator", "dawk/relay/admin/audit", "dawk/relay/admin/kept", "dawk/relay/admin/devices", "dawk/relay/admin/past", "dawk/relay/admin/queued", "dawk/relay/admin/traffic", "dawk/relay/history", "dawk/relay/webhook"}, []string{"golang.org/x/sync/singleflight"}},
	"dawk/relay/admin/api":         {[]string{"dawk/relay", "dawk/relay/admin/operator"}, nil},
	"dawk/relay/admin/acts":        {[]string{"dawk/relay", "dawk/relay/filter", "dawk/relay/admin/api", "dawk/relay/admin/audit", "dawk/relay/admin/bundle", "dawk/relay/admin/kept", "dawk/relay/admin/operator", "dawk/relay/admin/past", "dawk/relay/admin/queued"}, nil},
	"dawk/relay/admin/queued":      {[]string{"dawk/relay", "dawk/relay/filter", "dawk/relay/admin/api", "dawk/relay/admin/kept", "dawk/relay/replies"}, nil},
	"dawk/relay/admin/past":        {[]string{"dawk/bounce", "dawk/relay", "dawk/relay/httpapi"}, nil},
	"dawk/relay/admin/devices":     {[]string{"dawk/relay"}, nil},
	"dawk/relay/admin/suppressed":  {[]string{"dawk/relay", "dawk/relay/admin/api", "dawk/relay/admin/audit", "dawk/relay/admin/operator", "dawk/relay/suppression"}, nil},
	"dawk/relay/admin/traffic":     {[]string{"dawk/relay"}, nil},
	"dawk/relay/admin/audit":       {[]string{"dawk/relay/durable", "dawk/relay/filter"}, nil},
	"dawk/relay/admin/bundle":      {[]string{"dawk/relay"}, nil},
	"dawk/relay/admin/kept":        {[]string{"dawk/relay", "dawk/relay/admin/bundle", "dawk/relay/durable"}, nil},
	"dawk/relay/admin/operator":    {[]string{"dawk/relay", "dawk/relay/durable", "dawk/relay/identity", "dawk/relay/tomlfile"}, []string{"golang.org/x/sys/unix"}},
	"dawk/relay/admin/pages":       {[]string{"dawk/relay", "dawk/relay/filter", "dawk/relay/admin", "dawk/relay/admin/door", "dawk/relay/admin/operator", "dawk/relay/admin/suppressed", "dawk/relay/admin/webhooks", "dawk/relay/httpapi", "dawk/relay/suppression", "dawk/relay/webhook"}, nil},
	"dawk/relay/admin/door":        {[]string{"dawk/relay", "dawk/relay/admin/api", "dawk/relay/admin/operator", "dawk/relay/httpapi", "dawk/relay/identity", "dawk/relay/socket"}, nil},
}

// One file each imports these, so that it can be replaced.
var onlyIn = map[string]string{
	"github.com/miekg/dns":           "mx/dns/wire.go",
	"github.com/pires/go-proxyproto": "relay/submission/proxy.go",
}

func TestImportsRunDownward(t *testing.T) {
	const root = "../.."
	seen := map[string]bool{}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := filepath.ToSlash(strings.TrimPrefix(file, root+string(filepath.Separator)))
		if d.IsDir() {
			if strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || d.Name() == "testdata" {
				return fs.SkipDir
			}
			return nil
		}
		pkg := path.Join("dawk", path.Dir(rel))
		if !strings.HasSuffix(rel, ".go") || strings.HasSuffix(rel, "_test.go") || strings.HasPrefix(rel, "cmd/") {
			return nil // cmd/ knows everybody; tests may use anything
		}
		allowed, known := mayImport[pkg]
		if !known {
			t.Errorf("%s: package %s has no place in the architecture: give it one here and in docs/internals/architecture.md", rel, pkg)
			return nil
		}
		seen[pkg] = true
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, im := range f.Imports {
			p, _ := strconv.Unquote(im.Path.Value)
			first, _, _ := strings.Cut(p, "/")
			switch {
			case first == "dawk":
				if !slices.Contains(allowed.dawk, p) {
					t.Errorf("%s imports %s: a wrong arrow", rel, p)
				}
			case strings.Contains(first, "."):
				ok := slices.ContainsFunc(allowed.others, func(o string) bool { return p == o || strings.HasPrefix(p, o+"/") })
				if !ok {
					t.Errorf("%s imports %s, which is not for this package", rel, p)
				}
				if only := onlyIn[p]; only != "" && rel != only && !strings.HasPrefix(rel, "mx/mxtest/") {
					t.Errorf("%s imports %s: only %s may", rel, p, only)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range mayImport {
		if !seen[pkg] {
			t.Errorf("package %s is in the table but not in the tree", pkg)
		}
	}
}

// TestArchitectureTable compares the table of packages in the documentation with
// the code: every package has a row, and imports only what stands below it.
func TestArchitectureTable(t *testing.T) {
	const root, page = "../..", "../../docs/internals/architecture.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	row := map[string]int{}
	for _, line := range strings.Split(string(text), "\n") {
		cells := strings.Split(line, "|")
		if len(cells) != 6 {
			continue // not of the table: level, packages, what they own, third party
		}
		for i, name := range strings.Split(cells[2], "`") {
			if i%2 == 1 {
				row["dawk/"+name] = len(row) + 1
			}
		}
	}
	packages := map[string]bool{}
	err = filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && d.Name() != "..") {
			return fs.SkipDir
		}
		rel, err := filepath.Rel(root, file)
		pkg := path.Join("dawk", filepath.ToSlash(path.Dir(rel)))
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") || strings.HasSuffix(pkg, "test") {
			return err
		}
		packages[pkg] = true
		if row[pkg] == 0 {
			t.Errorf("%s: package %s has no row in %s", rel, pkg, page)
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, im := range f.Imports {
			p, _ := strconv.Unquote(im.Path.Value)
			if strings.HasPrefix(p, "dawk/") && row[p] <= row[pkg] {
				t.Errorf("%s imports %s, which does not stand below it in %s", rel, p, page)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range row {
		if !packages[pkg] {
			t.Errorf("%s has a row for %s, which is not in the tree", page, pkg)
		}
	}
}

// TestNoTestPackageIsLinked holds that the program has no package that exists
// for tests.
func TestNoTestPackageIsLinked(t *testing.T) {
	seen := map[string]bool{}
	var visit func(pkg string)
	visit = func(pkg string) {
		if seen[pkg] {
			return
		}
		seen[pkg] = true
		if strings.HasSuffix(pkg, "test") {
			t.Errorf("cmd/dawk links %s", pkg)
		}
		dir := filepath.Join("../..", strings.TrimPrefix(pkg, "dawk/"))
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("package %s: %d files, %v", pkg, len(files), err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, im := range f.Imports {
				if p, _ := strconv.Unquote(im.Path.Value); strings.HasPrefix(p, "dawk/") {
					visit(p)
				}
			}
		}
	}
	visit("dawk/cmd/dawk")
}
