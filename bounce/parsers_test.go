package bounce_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Independent programs that read bounces find the same recipients and reasons
// in our golden notices, every one of them. Debian has both: python3-flufl.bounce
// and libmail-deliverystatus-bounceparser-perl.
//
// "nothing" is right for late and relayed, which tell of no failure. It is the
// limit of both where a sender and a recipient need SMTPUTF8 (they do not know
// message/global-delivery-status), and that of flufl.bounce for any address of
// the type utf-8, which it does not look for.
func TestIndependentParsersAgree(t *testing.T) {
	for _, c := range []struct {
		name, probe string
		command     []string
		want        string
	}{
		{"flufl.bounce", "import flufl.bounce", []string{"/usr/bin/python3", "-c", "testdata/find_failures.py"}, `
damaged.eml permanent bob@example.com
delayed.eml temporary bob@example.com
digest.eml permanent bob@example.com
digest.eml permanent carol@example.com
digest.eml permanent dan@example.net
double_bounce.eml permanent alice@example.org
eight_bit_body.eml permanent bob@example.com
expired.eml permanent bob@example.com
failed.eml permanent bob@example.com
failed_dsn_parameters.eml permanent bob+list@old.example.com
failed_several.eml permanent bob@example.com
failed_several.eml permanent carol@example.com
failed_several.eml permanent dan@example.net
language_bn.eml permanent bob@example.com
language_bn.eml permanent carol@example.com
language_bn.eml permanent dan@example.net
language_de.eml permanent bob@example.com
language_de.eml permanent carol@example.com
language_de.eml permanent dan@example.net
language_es.eml permanent bob@example.com
language_es.eml permanent carol@example.com
language_es.eml permanent dan@example.net
language_fr.eml permanent bob@example.com
language_fr.eml permanent carol@example.com
language_fr.eml permanent dan@example.net
language_zh.eml permanent bob@example.com
language_zh.eml permanent carol@example.com
language_zh.eml permanent dan@example.net
late.eml nothing
no_such_domain.eml permanent bob@example.com
relayed.eml nothing
returns_no_report.eml permanent bob@example.com
utf8_recipient_ascii_sender.eml nothing
utf8_sender.eml nothing
utf8_sender_ascii_recipient.eml permanent bob@example.com
`},
		{"BounceParser", "use Mail::DeliveryStatus::BounceParser", []string{"/usr/bin/perl", "-e", "testdata/bounceparser.pl"}, `
damaged.eml bob@example.com unknown 4.3.0
delayed.eml nothing
digest.eml bob@example.com user_unknown 5.1.1
digest.eml bob@example.com user_unknown 5.1.1
digest.eml carol@example.com user_unknown 5.1.1
digest.eml dan@example.net over_quota 5.2.2
digest.eml bob@example.com unknown 4.4.7
digest.eml bob@example.com user_unknown 5.1.1
digest.eml carol@example.com user_unknown 5.1.1
digest.eml dan@example.net unknown 4.4.7
double_bounce.eml alice@example.org user_unknown 5.1.1
eight_bit_body.eml bob@example.com user_unknown 5.1.1
expired.eml bob@example.com unknown 4.4.7
failed.eml bob@example.com user_unknown 5.1.1
failed_dsn_parameters.eml bob+list@old.example.com user_unknown 5.1.1
failed_several.eml bob@example.com user_unknown 5.1.1
failed_several.eml carol@example.com user_unknown 5.1.1
failed_several.eml dan@example.net over_quota 5.2.2
language_bn.eml bob@example.com user_unknown 5.1.1
language_bn.eml carol@example.com user_unknown 5.1.1
language_bn.eml dan@example.net unknown 4.4.7
language_de.eml bob@example.com user_unknown 5.1.1
language_de.eml carol@example.com user_unknown 5.1.1
language_de.eml dan@example.net unknown 4.4.7
language_es.eml bob@example.com user_unknown 5.1.1
language_es.eml carol@example.com user_unknown 5.1.1
language_es.eml dan@example.net unknown 4.4.7
language_fr.eml bob@example.com user_unknown 5.1.1
language_fr.eml carol@example.com user_unknown 5.1.1
language_fr.eml dan@example.net unknown 4.4.7
language_zh.eml bob@example.com user_unknown 5.1.1
language_zh.eml carol@example.com user_unknown 5.1.1
language_zh.eml dan@example.net unknown 4.4.7
late.eml nothing
no_such_domain.eml bob@example.com domain_error 5.1.2
relayed.eml nothing
returns_no_report.eml bob@example.com user_unknown 5.1.1
utf8_recipient_ascii_sender.eml \x{7528}\x{6237}\x{2B}a@\x{4F8B}\x{5B50}.example user_unknown 5.1.1
utf8_sender.eml nothing
utf8_sender_ascii_recipient.eml bob@example.com user_unknown 5.1.1
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := exec.CommandContext(t.Context(), c.command[0], c.command[1], c.probe).Run(); err != nil {
				t.Skipf("%s is not installed", c.name)
			}
			notices, err := filepath.Glob("testdata/*.eml") // every one
			if err != nil || len(notices) == 0 {
				t.Fatal(notices, err)
			}
			args := append([]string{c.command[2]}, notices...)
			out, err := exec.CommandContext(t.Context(), c.command[0], args...).CombinedOutput()
			got := strings.ReplaceAll(string(out), "testdata/", "")
			if err != nil || strings.TrimSpace(got) != strings.TrimSpace(c.want) {
				t.Errorf("%v\n%s\nwant%s", err, got, c.want)
			}
		})
	}
}
