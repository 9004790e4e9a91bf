"""Sends one message with smtplib; makes it with the email package.

Arguments: mode host port ca mech user kind from to...
"""
import email.policy
import os
import smtplib
import ssl
import sys
from email.message import EmailMessage

mode, host, port, ca, mech, user, kind, sender = sys.argv[1:9]
recipients = sys.argv[9:]
marker = sys.stdin.buffer.read() if kind == "raw" else sys.stdin.buffer.read().decode()

BENGALI = "ডাক হরকরা চিঠি নিয়ে যায়।\nতার ঝুলিতে সবার খবর।\n"
CHINESE = "驿站传书，日夜不停。\n信使从不丢失一封信。\n"


def new(subject, policy=email.policy.SMTP):
    m = EmailMessage(policy=policy)
    m["From"] = sender
    m["To"] = ", ".join(recipients)
    m["Date"] = "Sun, 22 Nov 2026 12:00:00 +0000"
    m["Message-ID"] = "<%s@client.test>" % marker
    m["Subject"] = subject + " " + marker
    return m


def attachments():
    m = new("Invoice with attachments, চালান, 发票")
    m.set_content("The invoice is attached.\n" + BENGALI + CHINESE)
    m.add_alternative("<p>The invoice is <b>attached</b>. " + CHINESE + "</p>", subtype="html")
    m.add_attachment(bytes(range(256)) * 40, maintype="application", subtype="pdf", filename="চালান 2026.pdf")
    m.add_attachment("a;b\n১;二\n", subtype="csv", filename="发票.csv")
    inner = new("Forwarded")
    inner.set_content("the message within the message\n")
    m.add_attachment(inner)
    return m.as_bytes()


def eightbit():
    m = new("8-bit body", email.policy.SMTP.clone(cte_type="8bit"))
    m.set_content(BENGALI + "Größe, größer\n" + CHINESE, cte="8bit")
    return m.as_bytes()


def utf8(text):
    m = new(text.splitlines()[0], email.policy.SMTPUTF8)
    m.set_content(text, cte="8bit")
    return m.as_bytes()


def big():
    m = new("25 MiB")
    m.set_content("see attachment\n")
    m.add_attachment(os.urandom(25 << 20), maintype="application", subtype="octet-stream", filename="big.bin")
    return m.as_bytes()


data = {
    "raw": lambda: marker,
    "attachments": attachments,
    "eightbit": eightbit,
    "bengali": lambda: utf8(BENGALI),
    "chinese": lambda: utf8(CHINESE),
    "big": big,
}[kind]()

context = ssl.create_default_context(cafile=ca)
if mode == "implicit":
    smtp = smtplib.SMTP_SSL(host, int(port), "client.test", timeout=60, context=context)
else:
    smtp = smtplib.SMTP(host, int(port), "client.test", timeout=60)
smtp.set_debuglevel(1 if len(data) < 100000 else 0)
smtp.ehlo()
if mode == "starttls":
    smtp.starttls(context=context)
    smtp.ehlo()
if mech:
    smtp.user, smtp.password = user, os.environ["INTEROP_PASSWORD"]
    smtp.auth(mech, smtp.auth_plain if mech == "PLAIN" else smtp.auth_login)
options = []
if kind in ("bengali", "chinese"):
    options = ["SMTPUTF8", "BODY=8BITMIME"]
elif any(b > 127 for b in data):
    options = ["BODY=8BITMIME"]
refused = smtp.sendmail(sender, recipients, data, mail_options=options)
smtp.quit()
sys.exit(1 if refused else 0)
