package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/config"
	"dawk/cmd/dawk/internal/show"
	"dawk/relay"
	"dawk/relay/admin"
	"dawk/relay/sendmail"
)

// mailq prints the queue in the form of Postfix's mailq, which monitoring
// programs read. The form is theirs: a fixed first line, an entry for each
// message with what is still to be delivered, and a last line with the sum.
func printMailq(a *app.App, path, submit string) error {
	c, err := queueOf(a, path, submit)
	if err != nil {
		return &sendmail.Error{Exit: sendmail.ExitConfig, Err: err}
	}
	list := mailqList{w: a.Stdout}
	end, err := c.Lines(context.Background(), http.MethodGet, "/v1/queue", url.Values{"limit": {"0"}}, nil, func(l admin.Line) error {
		if l.Item != nil {
			return list.add(l.Item)
		}
		return nil
	})
	switch {
	case err != nil:
		return &sendmail.Error{Exit: sendmail.ExitUnavailable, Err: err}
	case end.Failed > 0:
		return &sendmail.Error{Exit: sendmail.ExitSoftware, Err: errors.New("a part of the queue could not be read; see dawk queue verify")}
	}
	return list.end()
}

// queueOf asks for the whole queue, or for the caller's own mail if he may not
// see it, nor perhaps the configuration that says where it is.
func queueOf(a *app.App, path, submit string) (*app.Client, error) {
	if path == "" {
		path = a.ConfigPath
	}
	c, err := config.Read(path)
	socket := ""
	if err == nil {
		socket = filepath.Join(c.DataDir, admin.SocketName)
		_, err = os.Stat(socket)
	}
	switch {
	case errors.Is(err, fs.ErrPermission) && submit != "":
		return app.NewClient(sendmail.QueueSocket(submit), ""), nil
	case socket == "":
		return nil, err
	}
	return app.NewClient(socket, ""), nil
}

// mailqList is a listing that is being printed.
type mailqList struct {
	w        io.Writer
	messages int
	octets   int64
}

func (l *mailqList) add(item *relay.Item) error {
	m := &item.Message
	var b strings.Builder
	if l.messages == 0 {
		b.WriteString("-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------\n")
	}
	l.messages++
	l.octets += m.Size
	from := m.From.String()
	if m.From.IsNull() {
		from = "MAILER-DAEMON"
	}
	fmt.Fprintf(&b, "%-10s%s%8d %-20s %s\n", m.ID, mailqState(item), m.Size, m.Arrival.Format(time.ANSIC)[:19], from)
	for i := range item.Deliveries {
		d := &item.Deliveries[i]
		if why := relay.ClipTo(show.LastReply(d), 200); why != "" {
			fmt.Fprintf(&b, "%41s(%s)\n", "", why)
		}
		for _, o := range d.Open {
			if o.Recipient < len(m.Recipients) {
				fmt.Fprintf(&b, "%41s%s\n", "", m.Recipients[o.Recipient].Path)
			}
		}
	}
	b.WriteByte('\n')
	_, err := io.WriteString(l.w, b.String())
	return err
}

// mailqState is the mark behind a queue ID: "!" for mail on hold.
func mailqState(item *relay.Item) string {
	for i := range item.Deliveries {
		if !item.Deliveries[i].Held {
			return " "
		}
	}
	return "!"
}

func (l *mailqList) end() error {
	if l.messages == 0 {
		_, err := fmt.Fprintln(l.w, "Mail queue is empty")
		return err
	}
	plural := "s"
	if l.messages == 1 {
		plural = ""
	}
	_, err := fmt.Fprintf(l.w, "-- %d Kbytes in %d Request%s.\n", max(1, (l.octets+1023)/1024), l.messages, plural)
	return err
}
