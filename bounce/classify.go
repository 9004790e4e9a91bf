package bounce

import "dawk/relay"

// Category is what a reply means, in a few stable words: a label of metrics,
// the key of the words in notices and in `dawk why`.
type Category string

// Classify gives the category of a reply that was not positive.
func Classify(r relay.Reply) Category { return CategoryOther }

// CategoryOther is what no rule knows.
const CategoryOther Category = "other"

// Categories are all categories, in the order of the documentation.
func Categories() []Category { return []Category{CategoryOther} }
