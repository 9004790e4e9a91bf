package bounce

import "dawk/relay/replies"

// WordsFor gives the words of a category in English, as shipped.
func WordsFor(c replies.Category) Words { return Shipped().find(DefaultLanguage).wordsFor(c) }
