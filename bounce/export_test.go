package bounce

import "dawk/relay/replies"

// Words are what people are told about a category.
type Words struct{ Why, Do string }

// WordsFor are those in English.
func WordsFor(c replies.Category) Words {
	why, do := Shipped().find(DefaultLanguage).wordsFor(c)
	return Words{why, do}
}
