package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"dawk/bounce"
	"dawk/mx"
	"dawk/relay"
	"dawk/relay/delivery/notices"
)

func (c *Config) checkNoticeRoute() {
	name := c.Bounce.NoticeRoute
	if name == "" || name == mx.NoticesByMX {
		return
	}
	var all []string
	for i := range c.Routes {
		if r := &c.Routes[i]; len(r.Via) > 0 {
			if r.RouteName() == name {
				return
			}
			if r.RouteName() != "" {
				all = append(all, r.RouteName())
			}
		}
	}
	c.doc.Fault("bounce.notice_route", `bounce.notice_route = %q is not a route with via; it is %s`, relay.Clip(name), quoteList(append(all, mx.NoticesByMX)))
}

// BounceConfig is [bounce]: what senders are told, and how much of it.
type BounceConfig struct {
	// of notices about mail that shows no language of its own, and of those to `postmaster`: `"bn"`, `"de"`, `"en"`,
	// `"es"`, `"fr"`, `"zh"`, or one of `templates`
	Language string `toml:"language"`
	// folder of your own words, one file a language: [bounces.md](bounces.md#words-of-your-own). Read at the start
	// Default: the words that come with dawk
	Templates string `toml:"templates"`
	// notices to one mailbox that are sent one by one; those beyond wait for the end of the time, at most a day, and
	// come as one that lists every message. `"0"`: no limit
	Limit string `toml:"limit"`
	// who was told of a delay is also told when the mail went on its way
	DelayEnded bool `toml:"delay_ended"`

	// name of the route that takes all notices, or `"mx"`
	// Default: see [bounces.md](bounces.md#the-way-of-notices)
	NoticeRoute string `toml:"notice_route"`
	// the postmaster is told of a route that is held for this long, daily while it lasts, and when it is free; of users
	// put on hold at once, in one message for all within that time, and daily while it lasts; `"0"`: never
	HeldNotice relay.Duration `toml:"held_notice"`
}

func newBounceConfig() BounceConfig {
	return BounceConfig{Language: bounce.DefaultLanguage, Limit: "100/h", HeldNotice: relay.Duration(15 * time.Minute)}
}

// Notices lacks what is made at run time: Sign, Short and Bounce.SevenBit.
func (c *Config) Notices() notices.Config {
	limit, span, _ := ParseNoticeLimit(c.Bounce.Limit) // checked
	return notices.Config{Limit: limit, Span: span, Bounce: bounce.Config{Hostname: c.Hostname, Postmaster: c.PostmasterPath(),
		Languages: c.languages, Language: c.Bounce.Language, TellLate: c.Bounce.DelayEnded}}
}

func (c *Config) checkBounce() {
	if _, _, err := ParseNoticeLimit(c.Bounce.Limit); err != nil {
		c.doc.Fault("bounce.limit", "bounce.limit %v", err)
	}
	c.checkNoticeRoute()
}

// maxNoticeSpan bounds how long a notice may be held back.
const maxNoticeSpan = 24 * time.Hour

// ParseNoticeLimit reads "100/h" or "20/10m". "0" is no limit.
func ParseNoticeLimit(s string) (most int, span time.Duration, err error) {
	r, err := relay.ParseRate(s)
	if err != nil || r.Per > maxNoticeSpan {
		return 0, 0, fmt.Errorf(`= %q is not a number of notices in a time of at most a day: write it like "100/h" or "20/10m", or "0" for no limit`, relay.Clip(s))
	}
	return r.N, r.Per, nil
}

// checkWords reads the folder of one's own words. What is wrong in there is
// told with file and line.
func (c *Config) checkWords() {
	c.languages = bounce.Shipped()
	if c.Bounce.Templates != "" {
		files, err := readWords(c.Bounce.Templates)
		if err != nil {
			c.doc.Fault("bounce.templates", "bounce.templates: %v", err)
			return
		}
		languages, faults := c.languages.With(files)
		for _, f := range faults {
			c.doc.Fault("bounce.templates", "%v", f)
		}
		if len(faults) > 0 {
			return
		}
		c.languages = languages
	}
	if !c.languages.Has(c.Bounce.Language) {
		c.doc.Fault("bounce.language", "bounce.language = %q is unknown; it is one of %s, or of bounce.templates",
			relay.Clip(c.Bounce.Language), quoteList(c.languages.Tags()))
	}
}

// readWords reads the files of a folder of words, by their paths.
func readWords(dir string) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("the folder %s does not exist", dir)
	case err != nil:
		return nil, fmt.Errorf("the folder cannot be read: %w", err)
	}
	files := map[string][]byte{}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), ".") { // editors and version control leave these
			continue
		}
		if e.IsDir() || filepath.Ext(name) != ".txt" {
			return nil, fmt.Errorf(`%s is no file of words: its name must be a language and ".txt", as in "de.txt"`, name)
		}
		if files[name], err = readBounded(name, bounce.MaxWordsFile); err != nil {
			return nil, err
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf(`the folder %s holds no file of words, as "de.txt"`, dir)
	}
	return files, nil
}
