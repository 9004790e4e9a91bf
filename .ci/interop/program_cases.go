package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// programCases: libraries and programs that make a message and send it by
// themselves. What they write passes through unchanged.
func programCases() []testCase {
	var cases []testCase
	for _, p := range []struct {
		name, mode string
		send       func(w *world, e errand, marker string) (string, error)
	}{
		{"Perl's Net::SMTP", starttls, sendPerl},
		{"git send-email", starttls, sendGit},
		{"nodemailer", implicit, sendNode},
	} {
		cases = append(cases, testCase{"made by " + p.name, func(t *T, w *world) {
			through(t, w, p.mode, "", func(e errand, marker string) (string, error) { return p.send(w, e, marker) })
		}})
	}
	return cases
}

// hostPort are the parts of an address; certificates are made out to localhost.
func (e errand) hostPort() (host, port string) {
	_, port, _ = net.SplitHostPort(e.addr) // ours
	return "localhost", port
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

func sendPerl(w *world, e errand, marker string) (string, error) {
	host, port := e.hostPort()
	return runTool(w.ctx, clientLimit, nil, nil, append([]string{"/usr/bin/perl", "-e", perlClient, host, port, w.ca.caFile,
		userName, e.password(), marker, e.from}, e.to...)...)
}

// sendGit sends a patch, as contributors to many projects do.
func sendGit(w *world, e errand, marker string) (string, error) {
	host, port := e.hostPort()
	patch := filepath.Join(w.dir, "0001-"+marker+".patch")
	text := "From 0123456789abcdef0123456789abcdef01234567 Mon Sep 17 00:00:00 2001\nFrom: Ada <" + e.from + ">\n" +
		"Date: Sun, 22 Nov 2026 12:00:00 +0000\nSubject: [PATCH] " + marker + "\n\n.\nডাক\n---\n x | 2 +-\n--\n2.39\n"
	if err := os.WriteFile(patch, []byte(text), 0o600); err != nil {
		return "", err
	}
	args := []string{"git", "send-email", "--smtp-server=" + host, "--smtp-server-port=" + port, "--smtp-encryption=tls",
		"--smtp-ssl-cert-path=" + w.ca.caFile, "--smtp-user=" + userName, "--smtp-pass=" + e.password(), "--smtp-domain=client.test",
		"--smtp-auth=PLAIN", "--from=" + e.from, "--confirm=never", "--suppress-cc=all", "--8bit-encoding=UTF-8", "--no-xmailer", "--quiet"}
	for _, to := range e.to {
		args = append(args, "--to="+to)
	}
	return runTool(w.ctx, clientLimit, nil, []string{"HOME=" + w.dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=Ada", "GIT_COMMITTER_NAME=Ada", "GIT_AUTHOR_EMAIL=" + e.from, "GIT_COMMITTER_EMAIL=" + e.from}, append(args, patch)...)
}

const nodeClient = `const [host, port, ca, user, pass, marker, from, ...to] = process.argv.slice(1);
const transport = require("nodemailer").createTransport({host, port: Number(port), secure: true, name: "client.test",
	auth: {user, pass}, tls: {ca: require("fs").readFileSync(ca)}});
transport.sendMail({from: {name: "Ада, Inc.", address: from}, to, subject: marker, text: "ডাক\n.\n" + "long ".repeat(400),
	html: "<p>驿站</p>", attachments: [{filename: "চালান.txt", content: "1,2,3\n"}]})
	.then(() => process.exit(0), (err) => { console.error(err); process.exit(1); });
`

func sendNode(w *world, e errand, marker string) (string, error) {
	host, port := e.hostPort()
	out, err := runTool(w.ctx, clientLimit, nil, []string{"NODE_PATH=/usr/share/nodejs"}, append([]string{"node", "-e", nodeClient, host, port, w.ca.caFile,
		userName, e.password(), marker, e.from}, e.to...)...)
	if err != nil {
		err = fmt.Errorf("nodemailer: %w", err)
	}
	return strings.TrimSpace(out), err
}
