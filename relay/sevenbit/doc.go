// Package sevenbit makes 8-bit messages fit for servers without 8BITMIME: it
// gives the parts that need it another Content-Transfer-Encoding (RFC 6152 §3,
// RFC 2045). What a reader decodes is the same octet for octet.
//
// It owns: the structure of MIME messages as far as encodings go. It does not
// own: when a message is converted, and what is said about one that cannot be.
//
// The message is read twice and never held in memory: [Converter.Convert]
// first learns which parts have 8-bit octets and may be encoded anew, then
// writes the result, in memory while it is small and else in a file without a
// name.
//
// # The rules
//
//   - A text part becomes quoted-printable, or base64 where that is shorter;
//     every other part base64. Parts without 8-bit octets stay as they are.
//   - Multiparts and enclosed messages (message/rfc822) may not be encoded as
//     a whole (RFC 2045 §6.4): their parts are, whatever a multipart's label.
//   - A part with 8-bit octets whose label says that it is encoded is passed on.
//   - A signed or encrypted multipart (RFC 1847) is left alone: its signature
//     covers the encoding.
//   - Text outside of all parts, which nobody shows (RFC 2046 §5.1.1), has "?"
//     in place of 8-bit octets.
//   - A message without MIME fields becomes text/plain, in UTF-8 where it is
//     that, else in "unknown-8bit" (RFC 1428 §3).
//   - File names and other parameters in the header of a part are written in
//     the form of RFC 2231, its Content-Description in that of RFC 2047. Other
//     8-bit octets in a header, of an enclosed message above all, are beyond
//     any encoding of the body.
package sevenbit
