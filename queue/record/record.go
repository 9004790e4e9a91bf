// Package record is the encoding of what stores keep in rows: messages, the state
// of Deliveries, attempts, and rows of lists. Each row has a version and a checksum,
// and older versions are read. It is pure. Begin reading at codec.go.
package record

import (
	"encoding/binary"
	"hash/crc32"

	"dawk/relay"
)

// The version of each kind of record. A file with a newer schema is refused as
// a whole at Open, so a record with another version is damage.
const (
	msgVersion   = 1
	schedVersion = 2 // 1 had replies without a cause and a remedy
	histVersion  = 2 // likewise

	digestVersion = 1
)

// MaxRecipients is the most that fit the 16-bit job numbers of one message.
const MaxRecipients = 1 << 15

// HeaderSize is the fixed front of a value in msg:
//
//	 0 u8   version
//	 1 u8   flags: bit 0 = a spool file holds the rest of the content
//	 2 u16  number of recipients; 0: a row of an older dawk
//	 4 u32  length of the metadata
//	 8 u64  length of the content kept here, after the metadata
//	16 u64  length of the spool file
//	24 u32  CRC-32C of the key, octets 0 to 23 and the metadata
//	28 u32  CRC-32C of the content kept here
const HeaderSize = 32

const InFile = 1 << 0

// Flags of a message's metadata.
const (
	metaSMTPUTF8 = 1 << iota
	metaRequireTLS
	metaEightBit
	metaUTF8Header
	metaNotice
	metaNoDelayNotes
	metaTLSOptional
)

// Layout is where the content of a message lies, and the checksums of its parts.
type Layout struct {
	Inline     int64 // octets after the metadata
	File       int64 // octets in the spool file; 0: there is none
	FileCRC    uint32
	Deliveries int // Deliveries made at acceptance
	Recipients int // all of them; only written, see Recipients
}

func MessageKey(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

func DeliveryKey(id uint64, job uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint64(nil, id), job)
}

// SplitKey reads the key of sched, and the first ten octets of hist's.
func SplitKey(k []byte) (id uint64, job uint16, ok bool) {
	if len(k) < 10 {
		return 0, 0, false
	}
	return binary.BigEndian.Uint64(k), binary.BigEndian.Uint16(k[8:]), true
}

func EncodeMeta(m *relay.Message, l Layout) []byte {
	e := enc{b: make([]byte, 0, 256+64*len(m.Recipients))}
	e.uint(metaFlags(m))
	e.time(m.Arrival)
	e.str(m.From.String())
	e.str(string(m.Body))
	e.str(m.EnvID)
	e.str(string(m.Ret))
	e.str(m.Identity)
	e.str(m.Client)
	e.str(m.Protocol)
	e.str(m.MessageID)
	e.int(int64(m.MaxAge))
	e.time(m.NotBefore)
	e.uint(uint64(l.Deliveries))
	e.U32(l.FileCRC)
	e.uint(uint64(len(m.Recipients)))
	for i := range m.Recipients {
		r := &m.Recipients[i]
		e.str(r.Path.String())
		e.str(r.ORcpt.Type)
		e.str(r.ORcpt.Addr)
		e.U8(byte(r.Notify))
	}
	return e.b
}

func metaFlags(m *relay.Message) (f uint64) {
	// In the order of the constants.
	for bit, set := range [...]bool{m.SMTPUTF8, m.RequireTLS, m.EightBit, m.UTF8Header, m.Notice, m.NoDelayNotes, m.TLSOptional} {
		if set {
			f |= 1 << bit
		}
	}
	return f
}

func decodeMeta(b []byte, m *relay.Message, l *Layout) error {
	d := Decoder{Rest: b}
	f := d.uint()
	m.SMTPUTF8, m.RequireTLS = f&metaSMTPUTF8 != 0, f&metaRequireTLS != 0
	m.EightBit, m.UTF8Header = f&metaEightBit != 0, f&metaUTF8Header != 0
	m.Notice, m.NoDelayNotes = f&metaNotice != 0, f&metaNoDelayNotes != 0
	m.TLSOptional = f&metaTLSOptional != 0
	m.Arrival = d.time()
	m.From = d.path()
	m.Body = relay.BodyType(d.str())
	m.EnvID = d.str()
	m.Ret = relay.Ret(d.str())
	m.Identity = d.str()
	m.Client = d.str()
	m.Protocol = d.str()
	m.MessageID = d.str()
	m.MaxAge = relay.Millis(d.int())
	m.NotBefore = d.time()
	l.Deliveries = d.small(MaxRecipients)
	l.FileCRC = d.U32()
	n := d.count()
	if n > MaxRecipients {
		return ErrRecord
	}
	m.Recipients = make([]relay.Recipient, n)
	for i := range m.Recipients {
		m.Recipients[i] = relay.Recipient{
			Path:   d.path(),
			ORcpt:  relay.ORcpt{Type: d.str(), Addr: d.str()},
			Notify: relay.Notify(d.U8()),
		}
	}
	return d.end()
}

// PutHeader fills h, the first HeaderSize octets of a value.
func PutHeader(h, key, meta []byte, l Layout, inlineCRC uint32) {
	clear(h[:HeaderSize])
	h[0] = msgVersion
	if l.File > 0 {
		h[1] = InFile
	}
	binary.BigEndian.PutUint16(h[2:], uint16(l.Recipients))
	binary.BigEndian.PutUint32(h[4:], uint32(len(meta)))
	binary.BigEndian.PutUint64(h[8:], uint64(l.Inline))
	binary.BigEndian.PutUint64(h[16:], uint64(l.File))
	crc := crc32.Update(checksum(key, h[:24]), Castagnoli, meta)
	binary.BigEndian.PutUint32(h[24:], crc)
	binary.BigEndian.PutUint32(h[28:], inlineCRC)
}

// EncodeMessage is a whole value of msg in fresh memory.
func EncodeMessage(m *relay.Message, l Layout, content []byte) []byte {
	l.Inline, l.Recipients = int64(len(content)), len(m.Recipients)
	meta := EncodeMeta(m, l)
	v := make([]byte, HeaderSize, HeaderSize+len(meta)+len(content))
	PutHeader(v, MessageKey(m.ID.Key), meta, l, crc32.Checksum(content, Castagnoli))
	return append(append(v, meta...), content...)
}

// DecodeMessage reads a value of msg. Strings are copied, inline is not: it is a
// part of v, and its checksum is left to CheckInline.
func DecodeMessage(k, v []byte, dir uint32) (m *relay.Message, l Layout, inline []byte, err error) {
	if len(k) != 8 || len(v) < HeaderSize || v[0] != msgVersion {
		return nil, l, nil, ErrRecord
	}
	metaLen := uint64(binary.BigEndian.Uint32(v[4:]))
	inlineLen := binary.BigEndian.Uint64(v[8:])
	fileLen := binary.BigEndian.Uint64(v[16:])
	rest := v[HeaderSize:]
	if metaLen > uint64(len(rest)) || inlineLen != uint64(len(rest))-metaLen || fileLen > 1<<50 ||
		(v[1]&InFile != 0) != (fileLen > 0) {
		return nil, l, nil, ErrRecord
	}
	meta := rest[:metaLen]
	if crc32.Update(checksum(k, v[:24]), Castagnoli, meta) != binary.BigEndian.Uint32(v[24:]) {
		return nil, l, nil, ErrRecord
	}
	m = &relay.Message{ID: relay.QueueID{Key: binary.BigEndian.Uint64(k), Dir: dir}}
	l.Inline, l.File = int64(inlineLen), int64(fileLen)
	if err := decodeMeta(meta, m, &l); err != nil {
		return nil, l, nil, err
	}
	m.Size = l.Inline + l.File
	return m, l, rest[metaLen:], nil
}

// Recipients is how many recipients the message of a value has, without a check of
// the value; 1 in one of an older dawk.
func Recipients(v []byte) int {
	if len(v) < HeaderSize {
		return 1
	}
	return max(1, int(binary.BigEndian.Uint16(v[2:])))
}

// CheckInline compares the content kept in v with its checksum.
func CheckInline(v, inline []byte) bool {
	return crc32.Checksum(inline, Castagnoli) == binary.BigEndian.Uint32(v[28:])
}

// EncodeDigest is a row of what senders are still to be told.
func EncodeDigest(key []byte, r *relay.DigestRow) []byte {
	row := make([]byte, RowHeader, RowHeader+len(r.Data))
	return Seal(digestVersion, key, append(row, r.Data...))
}

// DecodeDigest reads it.
func DecodeDigest(k, v []byte, dir uint32) (r relay.DigestRow, err error) {
	data, ok := Unseal(digestVersion, k, v)
	if !ok || len(k) != 8 {
		return r, ErrRecord
	}
	return relay.DigestRow{ID: relay.QueueID{Key: binary.BigEndian.Uint64(k), Dir: dir}, Data: append([]byte(nil), data.Rest...)}, nil
}
