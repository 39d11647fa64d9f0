package barrier

// Arrive takes the next cell of pass p, as one who has read the word in that pass, for the process self.
func Arrive(mem []byte, p, self uint32) (index int, ok bool) {
	b := in(mem)
	return b.arrive(p, self)
}
