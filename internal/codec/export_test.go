package codec

import "reflect"

// Reset forgets what is known about types.
func Reset() { plans.Clear() }

// IsPlain reports whether t, which must be accepted, is plain data.
func IsPlain(t reflect.Type) bool {
	p, err := planOf(t)
	if err != nil {
		panic(err)
	}
	return p.shape.plain
}

// IsCBOR reports whether values of t are encoded as CBOR.
func IsCBOR(t reflect.Type) bool {
	p, err := planOf(t)
	return err == nil && p.raw == nil
}
