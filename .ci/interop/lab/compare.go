package lab

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// SplitMessage cuts a message with LF line ends into its fields, each with its
// continuation lines and every byte as it was, and the body after the empty
// line. separated says whether there was an empty line.
func SplitMessage(m []byte) (fields []string, body []byte, separated bool) {
	for len(m) > 0 {
		line := m
		if i := bytes.IndexByte(m, '\n'); i >= 0 {
			line = m[:i+1]
		}
		m = m[len(line):]
		switch {
		case string(line) == "\n":
			return fields, m, true
		case (line[0] == ' ' || line[0] == '\t') && len(fields) > 0:
			fields[len(fields)-1] += string(line)
		default:
			fields = append(fields, string(line))
		}
	}
	return fields, nil, false
}

func fieldName(field string) string {
	name, _, _ := strings.Cut(field, ":")
	return strings.ToLower(strings.TrimRight(name, " \t"))
}

// Unchanged compares what arrived with what the client sent: the same body and
// the same fields in the same order, byte for byte, except that Bcc and
// Return-Path are gone and that fields were put in front. Line ends are not
// compared: both receivers store LF.
func Unchanged(sent, got []byte) error {
	sent = bytes.ReplaceAll(sent, []byte("\r\n"), []byte("\n"))
	wantFields, wantBody, _ := SplitMessage(sent)
	gotFields, gotBody, _ := SplitMessage(got)
	wantFields = slices.DeleteFunc(wantFields, func(f string) bool {
		n := fieldName(f)
		return n == "bcc" || n == "return-path"
	})
	if len(gotFields) < len(wantFields) {
		return fmt.Errorf("%d fields were sent and %d arrived: %q", len(wantFields), len(gotFields), gotFields)
	}
	prepended, kept := gotFields[:len(gotFields)-len(wantFields)], gotFields[len(gotFields)-len(wantFields):]
	for i := range kept {
		if kept[i] != wantFields[i] {
			return fmt.Errorf("a field changed: sent %q, arrived %q", Clip(wantFields[i]), Clip(kept[i]))
		}
	}
	if err := checkPrepended(prepended, wantFields); err != nil {
		return err
	}
	if !bytes.Equal(wantBody, gotBody) {
		return fmt.Errorf("the body changed %s", difference(wantBody, gotBody))
	}
	return nil
}

// checkPrepended allows one Received field of ours, and Date and Message-ID
// where the client gave none.
func checkPrepended(prepended, sent []string) error {
	has := func(name string) bool {
		return slices.ContainsFunc(sent, func(f string) bool { return fieldName(f) == name })
	}
	var received int
	for _, f := range prepended {
		switch n := fieldName(f); n {
		case "received":
			received++
			if !strings.Contains(f, "by "+Hostname) {
				return fmt.Errorf("a Received field that is not ours: %q", f)
			}
		case "date", "message-id":
			if has(n) {
				return fmt.Errorf("%q was put in front although the client sent one", f)
			}
		default:
			return fmt.Errorf("%q was put in front", f)
		}
	}
	if received != 1 {
		return fmt.Errorf("%d Received fields of ours, want 1", received)
	}
	return nil
}

// difference shows the first place where two bodies part.
func difference(want, got []byte) string {
	i := 0
	for i < len(want) && i < len(got) && want[i] == got[i] {
		i++
	}
	around := func(b []byte) []byte { return b[max(0, i-20):min(len(b), i+40)] }
	return fmt.Sprintf("at octet %d (lengths %d and %d): sent %q, arrived %q",
		i, len(want), len(got), around(want), around(got))
}

func Clip(s string) string {
	if len(s) > 120 {
		return s[:120] + "…"
	}
	return s
}

// unsigned takes the DKIM-Signature fields out that our relay has put in.
func unsigned(m []byte) []byte {
	fields, body, separated := SplitMessage(m)
	var b bytes.Buffer
	for _, f := range fields {
		if fieldName(f) != "dkim-signature" {
			b.WriteString(f)
		}
	}
	if separated {
		b.WriteString("\n")
	}
	b.Write(body)
	return b.Bytes()
}
