package server

import (
	"cmp"
	"runtime/debug"
)

// Build is what the program knows of how it was made.
type Build struct {
	Version string `json:"version"` // a tag, as "v1.2.0"; one made of date and commit; or "development"
	Commit  string `json:"commit"`  // with "+changes" where the work tree had some; "unknown" without a repository
	Date    string `json:"date"`    // of the commit, RFC 3339
	Go      string `json:"go"`
}

// ReadBuild reads what the Go toolchain wrote into the program.
func ReadBuild() Build {
	b := Build{Version: "development"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Go = info.GoVersion
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	changes := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			b.Commit = s.Value
		case s.Key == "vcs.time":
			b.Date = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			changes = "+changes"
		}
	}
	b.Commit = cmp.Or(b.Commit, "unknown") + changes
	b.Date = cmp.Or(b.Date, "unknown")
	return b
}

// Version is the version with the commit, in one word or two.
func Version() string {
	b := ReadBuild()
	if b.Commit == "unknown" {
		return b.Version
	}
	return b.Version + " " + b.Commit[:min(12, len(b.Commit))]
}
