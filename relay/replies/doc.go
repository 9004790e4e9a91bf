// Package replies knows what servers mean by their replies: in a few stable
// categories ([Classify]), and where a reply is about our account at a smart
// host, what it holds up and what an administrator can do ([Reread]).
//
// The rules are data: table.tsv, one line a rule, each with its source. Begin
// reading there. The package is pure; the table is read once, and a test proves
// that every line of it can be read.
package replies
