"""Reads a delivery status notification on standard input with the email
package and prints what it finds as JSON."""
import email
import email.policy
import json
import sys

m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
parts = list(m.iter_parts())
blocks = [{k.lower(): str(v) for k, v in b.items()} for b in parts[1].get_payload()]
defects = [str(d) for p in m.walk() for d in p.defects]
print(json.dumps({
    "ContentType": m.get_content_type(),
    "ReportType": m.get_param("report-type") or "",
    "From": str(m["From"]), "To": str(m["To"]), "Subject": str(m["Subject"]),
    "AutoSubmitted": str(m["Auto-Submitted"]),
    "Parts": [p.get_content_type() for p in parts],
    "Message": blocks[0],
    "Recipients": [b for b in blocks[1:] if b],
    "Text": parts[0].get_content(),
    "Returned": parts[2].as_bytes().decode("utf-8", "replace") if len(parts) > 2 else "",
    "Defects": defects,
}))
