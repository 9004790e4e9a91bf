package datadir

import "testing"

// FuzzQuarantined feeds rows of the bucket corrupt, and names of spool files.
func FuzzQuarantined(f *testing.F) {
	f.Add([]byte("m12345678checksum\x00value"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if q := DecodeQuarantined(b, b, 7); q.Octets > len(b) {
			t.Fatalf("%+v", q)
		}
		ParseSpoolName("00", string(b))
	})
}
