package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/config"
	"dawk/relay/dkim"
	"dawk/relay/durable"
)

// newDKIMCommand makes keys for signing. It needs no running relay.
func newDKIMCommand(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dkim",
		Short: "Make keys for signing mail",
		Args:  app.KnownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	kind, file := "rsa", ""
	add := &cobra.Command{
		Use:   "new DOMAIN [SELECTOR]",
		Short: "Make a key, and print the DNS record and the lines of the configuration for it",
		Long: "Makes a private key that only its owner can read, and prints what to put into DNS and into the\n" +
			"configuration. The selector names the key among those of the domain; without one it is the month.\n" +
			"Publish the record first, run `dawk check`, then `dawk reload`. A second key of the other kind\n" +
			"(--type ed25519) beside the first signs every message as well.",
		Args: app.Arguments(1, 2, "DOMAIN [SELECTOR]"),
		RunE: func(_ *cobra.Command, args []string) error {
			k := dkim.Key{Domain: args[0], Selector: "dawk" + time.Now().UTC().Format("200601"), File: file}
			if len(args) == 2 {
				k.Selector = args[1]
			}
			return dkimNew(a, k, kind)
		},
	}
	add.Flags().StringVar(&kind, "type", kind, "rsa (2048 bits; every receiver reads it) or ed25519 (small; many do)")
	add.Flags().StringVarP(&file, "output", "o", "", "file of the key (default dkim/DOMAIN.SELECTOR.pem beside the configuration)")
	cmd.AddCommand(add)
	return cmd
}

func dkimNew(a *app.App, k dkim.Key, kind string) error {
	k, err := k.Normalize()
	if err != nil {
		return err
	}
	if k.File == "" {
		c, err := config.Read(a.ConfigPath)
		if err != nil {
			return err
		}
		k.File = filepath.Join(c.Dir(), "dkim", k.Domain+"."+k.Selector+".pem")
		if err := durable.MkdirAll(filepath.Dir(k.File), 0o700); err != nil {
			return fmt.Errorf("make the directory for the key: %w", err)
		}
	}
	if k.File, err = filepath.Abs(k.File); err != nil {
		return err
	}
	private, data, err := dkim.NewKey(kind)
	if err != nil {
		return err
	}
	if err := writeNewSecret(k.File, data); err != nil {
		return err
	}
	record := dkim.Record(private)
	fmt.Fprintf(a.Stdout, `The private key is in %s. The relay's user must be able to read it, nobody else.

1. Publish this TXT record. In a zone file:

%s. IN TXT %s

   In a form of your DNS provider: name %s, type TXT, value

%s

2. Add to the configuration:

[[dkim]]
domain   = %q
selector = %q
key      = %q

3. Run `+"`dawk check`"+`, which compares the record with the key, and `+"`dawk reload`"+`.
`, k.File, k.RecordName(), zoneStrings(record), k.RecordName(), record, k.Domain, k.Selector, k.File)
	return nil
}

// zoneStrings writes a TXT record's content as a zone file wants it: strings
// of at most 255 octets (RFC 1035 §3.3.14), which readers join.
func zoneStrings(s string) string {
	var parts []string
	for len(s) > 255 {
		parts, s = append(parts, `"`+s[:255]+`"`), s[255:]
	}
	if parts = append(parts, `"`+s+`"`); len(parts) == 1 {
		return parts[0]
	}
	return "( " + strings.Join(parts, " ") + " )"
}

// writeNewSecret writes a file that only its owner may read; an existing one
// stays as it is.
func writeNewSecret(path string, data []byte) error {
	err := durable.New(path, data)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already, and may be in use: choose another selector, or another file with -o", path)
	}
	if err != nil {
		return fmt.Errorf("write the key: %w", err)
	}
	return nil
}
