package main

import (
	"bytes"
	"dawk/.ci/interop/lab"
	"fmt"
	"net"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// hopCases: next hops that other people wrote, other than SMTP servers that
// take everything: LMTP by aiosmtpd, and a receiver without 8BITMIME, whose
// mail Python's email package decodes.
func hopCases() []lab.TestCase {
	cases := []lab.TestCase{
		{Name: "LMTP by aiosmtpd/tcp", Run: func(t *lab.T, w *lab.World) { lmtpByAiosmtpd(t, w, "tcp") }},
		{Name: "LMTP by aiosmtpd/unix", Run: func(t *lab.T, w *lab.World) { lmtpByAiosmtpd(t, w, "unix") }},
	}
	for _, c := range eightBitContents() {
		cases = append(cases, lab.TestCase{Name: "a host without 8BITMIME/" + c.name, Run: func(t *lab.T, w *lab.World) { toSevenBit(t, w, c) }})
	}
	return cases
}

// lmtpServer takes mail for everybody but those whose name begins with "full"
// or "spam", whom it refuses after the content.
const lmtpServer = `import asyncio, os, sys
from aiosmtpd.lmtp import LMTP
kind, where, out = sys.argv[1:]
class Boxes:
    n = 0
    async def handle_DATA(self, server, session, envelope):
        answers = []
        for rcpt in envelope.rcpt_tos:
            if rcpt.startswith("full"):
                answers.append("452 4.2.2 mailbox full")
            elif rcpt.startswith("spam"):
                answers.append("550 5.7.1 not for this mailbox")
            else:
                Boxes.n += 1
                with open(os.path.join(out, "tmp"), "wb") as f:
                    f.write(envelope.content)
                os.rename(os.path.join(out, "tmp"), os.path.join(out, "%s.%d" % (rcpt, Boxes.n)))
                answers.append("250 2.1.5 delivered to " + rcpt)
        return "\r\n".join(answers)
async def main():
    loop = asyncio.get_running_loop()
    make = lambda: LMTP(Boxes(), hostname="boxes.test", enable_SMTPUTF8=True, loop=loop)
    if kind == "unix":
        server = await loop.create_unix_server(make, path=where)
    else:
        server = await loop.create_server(make, host="127.0.0.1", port=int(where))
    await server.serve_forever()
asyncio.run(main())
`

func lmtpByAiosmtpd(t *lab.T, w *lab.World, kind string) {
	if _, err := lab.RunTool(w.Ctx, time.Minute, nil, nil, "/usr/bin/python3", "-c", "import aiosmtpd"); err != nil {
		t.Skipf("python3-aiosmtpd is not installed")
	}
	boxes, err := w.Subdir("boxes-" + kind)
	t.Must("directory", err)
	where, via := filepath.Join(w.Dir, "lmtp.sock"), "lmtp+unix:"+filepath.Join(w.Dir, "lmtp.sock")
	if kind == "tcp" {
		port := w.FreePort()
		where, via = fmt.Sprint(port), fmt.Sprintf("lmtp://127.0.0.1:%d", port)
	}
	server, err := lab.StartProcess(exec.Command("/usr/bin/python3", "-c", lmtpServer, kind, where, boxes))
	t.Must("aiosmtpd", err)
	t.Cleanup(server.Kill)
	network, addr := kind, where
	if kind == "tcp" {
		addr = "127.0.0.1:" + where
	}
	if !lab.Eventually(w.Ctx, lab.Patience, func() bool {
		nc, err := net.Dial(network, addr)
		if err == nil {
			nc.Close()
		}
		return err == nil
	}) {
		t.Fatalf("aiosmtpd does not listen: %s", server.Out)
	}
	r := newHopRelay(t, w, "lmtp-"+kind, "boxes.test", via)
	marker := newMarker()
	message := bytes.Replace(lab.SimpleMessage(marker), []byte("Hello,"), []byte("Grüße,\r\n.\r\n..dots\r\n"), 1)
	to := []string{"one@boxes.test", "full@boxes.test", "two@boxes.test", "spam@boxes.test"}
	t.Must("send", smtp.SendMail(r.Addr(lab.Trusted), nil, lab.UserName, to, message))
	for to, event := range map[string]string{"one": "delivered", "two": "delivered", "full": "delayed", "spam": "failed"} {
		want := fmt.Sprintf("rcpt=<%s@boxes.test>", to)
		if !lab.Eventually(w.Ctx, lab.Patience, func() bool { return logged(r, "msg="+event, want) }) {
			t.Fatalf("%s is not %s:\n%s", to, event, r.Proc.Out.Tail(12))
		}
	}
	for _, box := range []string{"one", "two"} {
		files, err := filepath.Glob(filepath.Join(boxes, box+"@boxes.test.*"))
		t.Must("look into the boxes", err)
		if len(files) != 1 {
			t.Fatalf("%s has %d messages, want 1", box, len(files))
		}
		got, err := os.ReadFile(files[0])
		t.Must("read", err)
		if err := lab.Unchanged(message, bytes.ReplaceAll(got, []byte("\r\n"), []byte("\n"))); err != nil {
			t.Errorf("%s: %v", box, err)
		}
	}
}

func logged(r *lab.Relay, words ...string) bool {
	for line := range strings.Lines(r.Proc.Out.String()) {
		found := true
		for _, word := range words {
			found = found && strings.Contains(line, word)
		}
		if found {
			return true
		}
	}
	return false
}

// newHopRelay is a relay of its own whose mail for a domain goes one way.
func newHopRelay(t *lab.T, w *lab.World, name, domain, via string) *lab.Relay {
	r, err := w.NewRelay(name, []string{lab.Trusted}, fmt.Sprintf(
		"[queue]\nretry = [\"1h\"]\n\n[dns]\nservers = [%q]\n\n[[route]]\nto = [%q]\nvia = [%q]\n\n[[route]]\nto = [%q]\nvia = [%q]\n",
		w.Dns.Addr(), domain, via, lab.SenderDomain, w.Postfix.Addr()))
	t.Must("configuration", err)
	t.Must("start", r.Up())
	t.Cleanup(r.Close)
	return r
}

// eightBitContents are messages with 8-bit parts of all kinds.
func eightBitContents() []content {
	const part = "--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
	const mixed = head + "MIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\n"
	return []content{
		{"text", head + "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" +
			"Grüße = greetings \t\r\n.\r\n..\r\nFrom the start\r\n--b\r\n" + strings.Repeat("lång rad ", 80) + "\r\n\r\n \r\n"},
		{"text in base64", head + "MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" +
			strings.Repeat("驿站传书 ডাক হরকরা\r\n", 200)},
		{"of no charset, without MIME", head + "\r\nGr\xfc\xdfe = greetings\r\n"},
		{"parts", mixed + "préamble\r\n" + part + "Grüße, no line end" + "\r\n" + part + "\r\n" + part + "line end\r\nté\r\n\r\n" +
			"--b\r\nContent-Type: application/x-thing; name=x\r\nContent-Transfer-Encoding: binary\r\n\r\n\xff\xfe\x01=\r\n\xc0\r\n--b--\r\nepilögue\r\n"},
		{"messages within messages", mixed + part + "eins für alle\r\n--b\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" +
			"Subject: inner\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=\"b b\"\r\n\r\n--b b\r\nContent-Transfer-Encoding: 8bit\r\n" +
			"Content-Type: text/plain; charset=iso-8859-1\r\n\r\nna\xefve\r\n--b b\r\nContent-Type: text/plain\r\n\r\nplain = plain \r\n--b b--\r\n\r\n--b--\r\n"},
		{"500 KiB", mixed + part + strings.Repeat("naïve Café, ø and å; the rest is plain enough\r\n", 11_000) + "--b--\r\n"},
	}
}

// samePayloads is Python's view of two messages: the same structure, header
// fields but for encodings, and octets; the second without 8-bit octets.
const samePayloads = `import email, sys
raw = [open(f, "rb").read().replace(b"\r\n", b"\n") for f in sys.argv[1:3]]
if any(c > 127 for c in raw[1]):
    sys.exit("8-bit octets arrived")
if max(map(len, raw[1].split(b"\n"))) > 998:
    sys.exit("a long line arrived")
was, now = [list(email.message_from_bytes(r).walk()) for r in raw]
if len(was) != len(now):
    sys.exit("%d parts, not %d" % (len(now), len(was)))
changes = ("content-transfer-encoding", "received", "mime-version", "content-type")
for a, b in zip(was, now):
    fields = [[(k, v) for k, v in m.items() if k.lower() not in changes] for m in (a, b)]
    if fields[0] != fields[1]:
        sys.exit("header %r, not %r" % (fields[1], fields[0]))
    if a.get_content_type() != b.get_content_type() or a.defects != b.defects:
        sys.exit("%r %r" % (b.get_content_type(), b.defects))
    if "Content-Type" in a and a["Content-Type"] != b["Content-Type"]:
        sys.exit("type %r" % b["Content-Type"])
    if not a.is_multipart():
        x, y = [m.get_payload(decode=True).replace(b"\r\n", b"\n") for m in (a, b)]
        if x != y:
            i = next((i for i in range(min(len(x), len(y))) if x[i] != y[i]), min(len(x), len(y)))
            sys.exit("octet %d of %d and %d: %r, not %r" % (i, len(y), len(x), y[i:i+40], x[i:i+40]))
    print(b.get_content_type(), b["Content-Transfer-Encoding"])
`

func toSevenBit(t *lab.T, w *lab.World, c content) {
	sink, err := w.NewSink("seven-"+strings.ReplaceAll(c.name, " ", "-"), "-8")
	t.Must("smtp-sink", err)
	t.Cleanup(sink.Close)
	r := newHopRelay(t, w, "to-"+strings.ReplaceAll(c.name, " ", "-"), "seven.test", sink.Addr())
	marker := newMarker()
	message := strings.ReplaceAll(c.text, "MARK", marker)
	t.Must("send", smtp.SendMail(r.Addr(lab.Trusted), nil, lab.UserName, []string{"someone@seven.test"}, []byte(message)))
	got := w.Arrived(t, sink, marker, 1)[0]
	sent, arrived := filepath.Join(w.Dir, marker+".sent"), filepath.Join(w.Dir, marker+".arrived")
	t.Must("keep", os.WriteFile(sent, []byte(message), 0o600))
	var out string
	// smtp-sink writes while we read: a part of the message is no verdict yet.
	lab.Eventually(w.Ctx, lab.Patience, func() bool {
		if all, aerr := sink.Arrivals(lab.Contains(marker)); aerr == nil && len(all) == 1 {
			got = all[0]
		}
		if err = os.WriteFile(arrived, got.Content, 0o600); err == nil {
			out, err = lab.RunTool(w.Ctx, time.Minute, nil, nil, "/usr/bin/python3", "-c", samePayloads, sent, arrived)
		}
		return err == nil
	})
	if err != nil {
		t.Errorf("%v: %s", err, lab.LastLines(out, 4))
	}
	t.Notef("%s", strings.Join(strings.Fields(out), " "))
}
