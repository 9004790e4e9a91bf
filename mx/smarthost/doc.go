// Package smarthost knows what smart hosts mean by their replies: which are about
// the login, about how much is sent, or about the sender, and what an
// administrator can do. The table is data; begin reading at sayings and
// [Reread].
package smarthost
