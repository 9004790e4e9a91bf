package check

import (
	"context"
	"errors"

	"dawk/cmd/dawk/internal/show"
	"dawk/relay/admin/operator"
	"dawk/relay/tomlfile"
)

// operators looks at who may use the pages and the API: while the file has mistakes
// nobody may.
func (c *checker) operators(context.Context) []Finding {
	path := c.cfg.Admin.Operators
	if path == "" {
		return nil
	}
	f, err := operator.ReadFile(path)
	var faults *tomlfile.Error
	switch {
	case errors.As(err, &faults):
		var all []Finding
		for _, f := range faults.Faults {
			all = append(all, bad("operators", "", "%s:%d:%d: %s", faults.File, f.Line, f.Column, f.Message))
		}
		return all
	case err != nil:
		return []Finding{bad("operators", "let the relay's user read it, or name another in [admin] operators", "%v", err)}
	case othersMay(path, 0o022): // worse than reading: a hash of one's own makes an admin
		return []Finding{bad("operators", "chmod 600 "+path+", and look at who is in it", "others may write %s, and so make themselves operators", path)}
	case othersMay(path, 0o007):
		return []Finding{warn("operators", "chmod 600 "+path, "every user of this machine can read the password hashes in %s", path)}
	case len(f.Operators)+len(f.Tokens) == 0:
		return []Finding{warn("operators", "dawk operator add NAME --role admin", "%s holds nobody: nobody can log in to the pages", path)}
	}
	return []Finding{good("operators", "%s and %s in %s", show.Plural(len(f.Operators), "operator"), show.Plural(len(f.Tokens), "token"), path)}
}
