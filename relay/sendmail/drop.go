package sendmail

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"dawk/relay"
	"dawk/relay/durable"
)

// A drop file is a line of JSON (the envelope) followed by the message. It is complete once it has
// its final name.
const (
	dropSuffix  = ".mail"
	dropVersion = 1
	maxDropHead = 1 << 20 // octets of the first line
)

// dropMode lets everybody add a file, lets only the owner list the files, and lets nobody remove
// those of others.
const dropMode = fs.ModeSticky | 0o733

type dropHead struct {
	Version  int            `json:"dawk_drop"`
	Size     int64          `json:"size"` // octets of the message
	Envelope relay.Envelope `json:"envelope"`
	// Unserved: with it the file reports recipients that do not get a message, and the header of that
	// message follows; the envelope then has no other recipients.
	Unserved []Unserved `json:"unserved,omitempty"`
}

// MakeDrop makes the drop folder, which belongs to whoever runs the relay.
func MakeDrop(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the drop folder: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("the drop folder: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("the drop folder %s is not a directory", dir)
	}
	for _, own := range []string{asideName, toldName} {
		if err := os.Mkdir(filepath.Join(dir, own), 0o700); err != nil && !errors.Is(err, fs.ErrExist) { // before anybody else may
			return fmt.Errorf("the drop folder: %w", err)
		}
	}
	if info.Mode()&(fs.ModePerm|fs.ModeSticky) != dropMode {
		if err := os.Chmod(dir, dropMode); err != nil {
			return fmt.Errorf("the drop folder needs mode 1733, and only its owner or root can set it: %w", err)
		}
	}
	return nil
}

// Drop leaves m in the drop folder, on stable storage, for the relay to take
// when it runs.
//
// The relay runs as another user and must be able to read the file, so its mode allows everybody
// to; the file is private because its name can be neither guessed nor listed.
//
// The file does not have the recipients that cannot be sent to: see [GiveBack].
func Drop(dir string, m *Message) error {
	only := *m
	only.Unserved = nil
	_, err := leave(dir, &only)
	return err
}

// leave writes a drop file and gives its path.
func leave(dir string, m *Message) (path string, err error) {
	name := time.Now().UTC().Format("20060102T150405.000000000Z") + "-" + rand.Text()
	path = filepath.Join(dir, name+dropSuffix)
	f, err := durable.Create(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := writeDrop(f, m); err != nil {
		return "", err
	}
	if err := f.Chmod(0o644); err != nil {
		return "", err
	}
	if err := f.Commit(); err != nil {
		os.Remove(path) // nobody was told that it was accepted
		return "", err
	}
	return path, nil
}

func writeDrop(f io.Writer, m *Message) error {
	head, err := json.Marshal(dropHead{Version: dropVersion, Size: m.Size(), Envelope: m.Envelope, Unserved: m.Unserved})
	if err != nil {
		return err
	}
	if len(head) >= maxDropHead { // it could not be read again
		return fmt.Errorf("%d recipients are too many for a file", len(m.Envelope.Recipients))
	}
	w := bufio.NewWriterSize(f, 64<<10)
	_, _ = w.Write(append(head, '\n')) // the first error stays
	if _, err := io.Copy(w, m.Reader()); err != nil {
		return err
	}
	return w.Flush()
}

// dropFile is one that was opened.
type dropFile struct {
	*os.File
	head   dropHead
	bodyAt int64
	uid    uint32
}

var errMalformed = errors.New("it is not a file that dawk sendmail left")

// openDrop opens a drop file, and refuses links.
func openDrop(path string) (_ *dropFile, err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := &dropFile{File: os.NewFile(uintptr(fd), path)}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1 { // with a second name it may be a hard link to the file of another user
		return nil, fmt.Errorf("%w: not a plain file with one name", errMalformed)
	}
	f.uid = st.Uid
	f.head, f.bodyAt, err = readHead(f, st.Size)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// readHead reads the envelope of a drop file of size octets, and says where the message begins. Any
// error other than errMalformed is a failure of the disk.
func readHead(r io.Reader, size int64) (head dropHead, bodyAt int64, err error) {
	line, err := bufio.NewReaderSize(io.LimitReader(r, maxDropHead), 64<<10).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return head, 0, fmt.Errorf("read a drop file: %w", err)
	}
	if err != nil {
		return head, 0, fmt.Errorf("%w: no envelope", errMalformed)
	}
	dec := json.NewDecoder(strings.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&head); err != nil || dec.More() || head.Version != dropVersion || (len(head.Envelope.Recipients) == 0) != (len(head.Unserved) > 0) {
		return head, 0, fmt.Errorf("%w: its envelope cannot be read", errMalformed)
	}
	bodyAt = int64(len(line))
	if size-bodyAt != head.Size {
		return head, 0, fmt.Errorf("%w: it is not whole", errMalformed)
	}
	if len(head.Unserved) > maxUnserved {
		return head, 0, fmt.Errorf("%w: its envelope is not possible", errMalformed)
	}
	return head, bodyAt, checkEnvelope(&head.Envelope)
}

// checkEnvelope refuses values that JSON allows and SMTP does not.
func checkEnvelope(e *relay.Envelope) error {
	_, bodyOK := map[relay.BodyType]bool{"": true, relay.Body7Bit: true, relay.Body8BitMIME: true}[e.Body]
	_, retOK := map[relay.Ret]bool{"": true, relay.RetFull: true, relay.RetHdrs: true}[e.Ret]
	if !bodyOK || !retOK || e.RequireTLS || len(e.EnvID) > 100 || strings.ContainsFunc(e.EnvID, func(r rune) bool { return r < ' ' || r > '~' }) {
		return fmt.Errorf("%w: its envelope is not possible", errMalformed)
	}
	for _, r := range e.Recipients {
		if r.Path.IsNull() || !r.ORcpt.IsZero() {
			return fmt.Errorf("%w: its envelope is not possible", errMalformed)
		}
		e.SMTPUTF8 = e.SMTPUTF8 || !r.Path.ASCII()
	}
	e.SMTPUTF8 = e.SMTPUTF8 || !e.From.ASCII()
	return nil
}
