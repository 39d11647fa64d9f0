package words

// LastBreak is lastBreak for tests.
var LastBreak = lastBreak
