package main

import (
	"dawk/.ci/interop/lab"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// programCases: libraries and programs that make a message and send it by
// themselves. What they write passes through unchanged.
func programCases() []lab.TestCase {
	var cases []lab.TestCase
	for _, p := range []struct {
		name, mode string
		send       func(w *lab.World, e lab.Errand, marker string) (string, error)
	}{
		{"Perl's Net::SMTP", lab.Starttls, sendPerl},
		{"git send-email", lab.Starttls, sendGit},
		{"nodemailer", lab.Implicit, sendNode},
	} {
		cases = append(cases, lab.TestCase{Name: "made by " + p.name, Run: func(t *lab.T, w *lab.World) {
			through(t, w, p.mode, "", func(e lab.Errand, marker string) (string, error) { return p.send(w, e, marker) })
		}})
	}
	return cases
}

const perlClient = `use strict; use warnings; use Net::SMTP;
my ($host, $port, $ca, $user, $pass, $marker, $from, @to) = @ARGV;
my $s = Net::SMTP->new($host, Port => $port, Hello => "client.test", Timeout => 60, SSL_ca_file => $ca) or die "connect: $@";
$s->starttls(SSL_ca_file => $ca) or die "starttls: " . $s->message;
$s->auth($user, $pass) or die "auth: " . $s->message;
$s->mail($from) or die "mail: " . $s->message;
$s->to(@to) or die "to: " . $s->message;
$s->data("From: <$from>\n", "To: <$to[0]>\n", "Subject: $marker\n", "Date: Sun, 22 Nov 2026 12:00:00 +0000\n",
	"Message-ID: <$marker\@client.test>\n", "\n", "line\n.\n..\nend") or die "data: " . $s->message;
$s->quit;
`

func sendPerl(w *lab.World, e lab.Errand, marker string) (string, error) {
	host, port := e.HostPort()
	return lab.RunTool(w.Ctx, lab.ClientLimit, nil, nil, append([]string{"/usr/bin/perl", "-e", perlClient, host, port, w.Ca.CaFile,
		lab.UserName, e.Password(), marker, e.From}, e.To...)...)
}

// sendGit sends a patch, as contributors to many projects do.
func sendGit(w *lab.World, e lab.Errand, marker string) (string, error) {
	host, port := e.HostPort()
	patch := filepath.Join(w.Dir, "0001-"+marker+".patch")
	text := "From 0123456789abcdef0123456789abcdef01234567 Mon Sep 17 00:00:00 2001\nFrom: Ada <" + e.From + ">\n" +
		"Date: Sun, 22 Nov 2026 12:00:00 +0000\nSubject: [PATCH] " + marker + "\n\n.\nডাক\n---\n x | 2 +-\n--\n2.39\n"
	if err := os.WriteFile(patch, []byte(text), 0o600); err != nil {
		return "", err
	}
	args := []string{"git", "send-email", "--smtp-server=" + host, "--smtp-server-port=" + port, "--smtp-encryption=tls",
		"--smtp-ssl-cert-path=" + w.Ca.CaFile, "--smtp-user=" + lab.UserName, "--smtp-pass=" + e.Password(), "--smtp-domain=client.test",
		"--smtp-auth=PLAIN", "--from=" + e.From, "--confirm=never", "--suppress-cc=all", "--8bit-encoding=UTF-8", "--no-xmailer", "--quiet"}
	for _, to := range e.To {
		args = append(args, "--to="+to)
	}
	return lab.RunTool(w.Ctx, lab.ClientLimit, nil, []string{"HOME=" + w.Dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=Ada", "GIT_COMMITTER_NAME=Ada", "GIT_AUTHOR_EMAIL=" + e.From, "GIT_COMMITTER_EMAIL=" + e.From}, append(args, patch)...)
}

const nodeClient = `const [host, port, ca, user, pass, marker, from, ...to] = process.argv.slice(1);
const transport = require("nodemailer").createTransport({host, port: Number(port), secure: true, name: "client.test",
	auth: {user, pass}, tls: {ca: require("fs").readFileSync(ca)}});
transport.sendMail({from: {name: "Ада, Inc.", address: from}, to, subject: marker, text: "ডাক\n.\n" + "long ".repeat(400),
	html: "<p>驿站</p>", attachments: [{filename: "চালান.txt", content: "1,2,3\n"}]})
	.then(() => process.exit(0), (err) => { console.error(err); process.exit(1); });
`

func sendNode(w *lab.World, e lab.Errand, marker string) (string, error) {
	host, port := e.HostPort()
	out, err := lab.RunTool(w.Ctx, lab.ClientLimit, nil, []string{"NODE_PATH=/usr/share/nodejs"}, append([]string{"node", "-e", nodeClient, host, port, w.Ca.CaFile,
		lab.UserName, e.Password(), marker, e.From}, e.To...)...)
	if err != nil {
		err = fmt.Errorf("nodemailer: %w", err)
	}
	return strings.TrimSpace(out), err
}
