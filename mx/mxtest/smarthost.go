package mxtest

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"time"
)

// Microsoft365 is a Config that offers, says and limits what the submission
// server of Microsoft 365 does. Good decides on access tokens.
func Microsoft365(good func(token string) bool) Config {
	return Config{Hostname: "FR0P281CA0001.outlook.office365.test", Auth: "LOGIN XOAUTH2", AuthNeedsTLS: true,
		Users: map[string]string{}, Good: good, Provider: "microsoft365",
		Extensions:     []string{"SIZE 157286400", "PIPELINING", "DSN", "ENHANCEDSTATUSCODES", "8BITMIME", "BINARYMIME", "CHUNKING", "SMTPUTF8"},
		MaxConnections: 3, PerMinute: 30}
}

// Gmail is the same for smtp.gmail.com.
func Gmail(good func(token string) bool) Config {
	return Config{Hostname: "smtp.gmail.test", Auth: "LOGIN PLAIN XOAUTH2 PLAIN-CLIENTTOKEN OAUTHBEARER XOAUTH", AuthNeedsTLS: true,
		Users: map[string]string{}, Good: good, Provider: "gmail",
		Extensions: []string{"SIZE 35882577", "8BITMIME", "ENHANCEDSTATUSCODES", "PIPELINING", "CHUNKING", "SMTPUTF8"}}
}

// denied is how a provider refuses a login.
func (c *session) denied() string {
	switch c.s.cfg.Provider {
	case "microsoft365":
		return "535 5.7.3 Authentication unsuccessful [FR0P281CA0001.DEUP281.PROD.OUTLOOK.COM 2026-11-22T12:00:00.000Z 08DE000000000000]\r\n"
	case "gmail":
		return "535-5.7.8 Username and Password not accepted. For more information, go to\r\n535 5.7.8  https://support.google.com/mail/?p=BadCredentials a1-test - gsmtp\r\n"
	}
	return "535 5.7.8 wrong name or password\r\n"
}

// bearer is XOAUTH2 or OAUTHBEARER; ok is false when it has answered.
func (c *session) bearer(mech, initial string) (user string, ok bool, err error) {
	if initial == "" {
		if initial, err = c.challenge(""); err != nil {
			return "", false, err
		}
	}
	message := decode64(initial)
	var token string
	for part := range strings.SplitSeq(message, "\x01") {
		if v, found := strings.CutPrefix(part, "auth=Bearer "); found {
			token = v
		}
		if v, found := strings.CutPrefix(part, "user="); found {
			user = v
		}
		if v, found := strings.CutPrefix(part, "n,a="); found {
			user = strings.TrimSuffix(v, ",")
		}
	}
	if c.s.cfg.Good != nil && c.s.cfg.Good(token) && user != "" && c.s.peek(EventAUTH, user).verb == "accept" {
		return user, true, nil
	}
	if c.s.cfg.Provider == "gmail" || mech == "OAUTHBEARER" {
		// The client has to ask for the verdict: an empty line, or ^A.
		answer, err := c.challenge(`{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}`)
		if err != nil {
			return "", false, err
		}
		if want := map[string]string{"XOAUTH2": "", "OAUTHBEARER": "\x01"}[mech]; decode64(answer) != want {
			return "", false, c.write("501 5.5.2 Cannot Decode response\r\n", 0)
		}
	}
	if c.s.peek(EventAUTH, user).verb != "accept" {
		return user, true, nil // the script says what
	}
	return "", false, c.write(c.denied(), 0)
}

func (c *session) challenge(text string) (string, error) {
	if err := c.write("334 "+base64.StdEncoding.EncodeToString([]byte(text))+"\r\n", 0); err != nil {
		return "", err
	}
	line, err := c.r.ReadString('\n')
	return strings.TrimSpace(line), err
}

// scram is SCRAM-SHA-256 (RFC 7677), for the users with their passwords.
func (c *session) scram(initial string) (user string, ok bool, err error) {
	bare := strings.TrimPrefix(decode64(initial), "n,,")
	name, nonce, _ := strings.Cut(strings.TrimPrefix(bare, "n="), ",r=")
	nonce += rand.Text()
	salt := []byte(rand.Text())
	first := "r=" + nonce + ",s=" + base64.StdEncoding.EncodeToString(salt) + ",i=4096"
	answer, err := c.challenge(first)
	if err != nil {
		return "", false, err
	}
	final, proof, _ := strings.Cut(decode64(answer), ",p=")
	salted, err := pbkdf2.Key(sha256.New, c.s.cfg.Users[name], salt, 4096, sha256.Size)
	if err != nil {
		return "", false, err
	}
	mac := func(key []byte, s string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(s))
		return h.Sum(nil)
	}
	signed := bare + "," + first + "," + final
	key := mac(salted, "Client Key")
	stored := sha256.Sum256(key)
	want := mac(stored[:], signed)
	for i := range want {
		want[i] ^= key[i]
	}
	if !strings.HasSuffix(final, ",r="+nonce) || base64.StdEncoding.EncodeToString(want) != proof || c.s.cfg.Users[name] == "" {
		return "", false, c.write("535 5.7.8 wrong name or password\r\n", 0)
	}
	if _, err := c.challenge("v=" + base64.StdEncoding.EncodeToString(mac(mac(salted, "Server Key"), signed))); err != nil {
		return "", false, err
	}
	return name, true, nil
}

// busy says no where the provider does for the mailbox's sake; it has answered
// then.
func (c *session) busy() (bool, error) {
	s := c.s
	s.mu.Lock()
	full := s.cfg.MaxConnections > 0 && s.open > s.cfg.MaxConnections
	if full {
		s.exceeded++
	}
	s.mu.Unlock()
	if !full {
		return false, nil
	}
	return true, c.write("432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending for more information. [Hostname=FR0P281MB0001]\r\n", 0)
}

// tooFast is busy for messages a minute.
func (c *session) tooFast() bool {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.cfg.PerMinute
	if n == 0 || len(s.messages) < n {
		return false
	}
	if time.Since(s.messages[len(s.messages)-n].Time) >= time.Minute {
		return false
	}
	s.exceeded++
	return true
}
