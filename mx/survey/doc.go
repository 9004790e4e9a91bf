// Package survey says what was found out about how mail would travel, for people and
// for JSON: the hosts of a destination and what each must fulfil
// ([Destination]), and what the hosts of a domain show to whoever comes to send
// ([Survey]). mx fills them in; nothing here connects to anybody. All text that
// strangers wrote is bounded and sanitized.
package survey
