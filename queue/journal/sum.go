package journal

import (
	"encoding/binary"
	"hash/crc32"
)

// castagnoli is the polynomial of CRC-32C, and polynomial the same as a number, its highest power
// in the lowest bit as in the checksums.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const polynomial = crc32.Castagnoli

// powers are x to the power of 1, 2, 4, 8 ... modulo the polynomial.
var powers = func() (p [34]uint32) {
	p[0] = 1 << 30
	for k := 1; k < len(p); k++ {
		p[k] = times(p[k-1], p[k-1])
	}
	return p
}()

// times is a product of two polynomials modulo the one of the checksum.
func times(a, b uint32) (product uint32) {
	for ; a != 0; a <<= 1 {
		product ^= b & -(a >> 31)
		b = b>>1 ^ polynomial&-(b&1)
	}
	return product
}

// joined is the checksum of what has the checksum front followed by octets that have the
// checksum back.
func joined(front, back uint32, octets int) uint32 {
	for k := 3; octets > 0; octets, k = octets>>1, k+1 { // eight bits each
		if octets&1 != 0 {
			front = times(powers[k], front)
		}
	}
	return front ^ back
}

// seal fills in the header.
func (j *Journal) seal(r *Record, t Totals) {
	head := r.buf[:recordHeader]
	binary.BigEndian.PutUint32(head, recordMagic)
	for i, v := range [...]uint64{j.mark.Run, j.mark.Number, j.seq + 1, uint64(r.length),
		t.High, t.Messages, t.Deliveries, t.Quarantined} {
		binary.BigEndian.PutUint64(head[8+8*i:], v)
	}
	var crc uint32
	from := 8
	for _, l := range r.large {
		crc = crc32.Update(crc, castagnoli, r.buf[from:l.at])
		rest := len(l.value) - l.known
		crc = joined(crc32.Update(crc, castagnoli, l.value[:rest]), l.crc, l.known)
		from = l.at
	}
	crc = crc32.Update(crc, castagnoli, r.buf[from:])
	binary.BigEndian.PutUint32(head[4:], crc)
}
