package usercmd

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"dawk/relay"
	"dawk/relay/identity"
)

// Whatever holds for a user is in `dawk user list`, in the table as in JSON: a rule that is
// added to identity.User or to its policy and not shown fails here.
func TestListShowsEveryRule(t *testing.T) {
	address, err := relay.ParsePath("desk@example.org")
	if err != nil {
		t.Fatal(err)
	}
	of := func(u *identity.User) (Listed, string) {
		j := newListed(u)
		return j, strings.Join([]string{j.Name, orAny(j.Senders), orAny(j.Networks), j.limits()}, "|")
	}
	_, plain := of(&identity.User{})
	fields := reflect.VisibleFields(reflect.TypeFor[identity.User]())
	shown := 0
	for _, f := range fields {
		if !f.IsExported() || f.Anonymous {
			continue
		}
		var u identity.User
		v := reflect.ValueOf(&u).Elem().FieldByIndex(f.Index)
		switch v.Interface().(type) {
		case bool:
			v.SetBool(true)
		case int, int64:
			v.SetInt(7)
		case string:
			v.SetString("https://example.org/u?t={token}")
		case []string:
			v.Set(reflect.ValueOf([]string{"printer.example.org"}))
		case []netip.Prefix:
			v.Set(reflect.ValueOf([]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}))
		case time.Duration:
			v.SetInt(int64(time.Hour))
		case relay.Path:
			v.Set(reflect.ValueOf(address))
		case relay.Priority:
			v.Set(reflect.ValueOf(relay.PriorityBulk))
		case []identity.Sender:
			var s identity.Sender
			if err := s.UnmarshalText([]byte("@example.org")); err != nil {
				t.Fatal(err)
			}
			v.Set(reflect.ValueOf([]identity.Sender{s}))
		default:
			t.Fatalf("%s is of a type that this test does not know", f.Name)
		}
		shown++
		j, row := of(&u)
		if row == plain {
			t.Errorf("the table says nothing about %s", f.Name)
		}
		if empty, _ := of(&identity.User{}); reflect.DeepEqual(j, empty) {
			t.Errorf("JSON says nothing about %s", f.Name)
		}
	}
	if shown < 18 || !slices.ContainsFunc(fields, func(f reflect.StructField) bool { return f.Name == "HoldCopies" }) {
		t.Errorf("only %d rules were looked at", shown)
	}
}
