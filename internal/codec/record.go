package codec

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// fillRecord finds the fields of a struct as packages for CBOR and JSON do, but where these would pass over
// a field in silence it returns an error.
func (c *compiler) fillRecord(s *shape, t reflect.Type, path string) error {
	names := make(map[string]string) // the path of each field by its encoded name
	if err := c.addFields(s, t, path, 0, names); err != nil {
		return err
	}
	s.names, s.numbers = make(map[string]int), make(map[string]int)
	s.heads = headSize(uint64(len(s.fields)))
	for i := range s.fields {
		f := &s.fields[i]
		d := decoder{data: []byte(f.key)}
		if major, _, err := d.head(); err == nil && major == majorText {
			s.names[f.key[d.pos:]] = i
		} else {
			s.numbers[f.key] = i
		}
		s.heads += len(f.key)
		s.optional = s.optional || f.optional
	}
	return nil
}

// addFields adds the fields of t, which is the record itself or embedded in it at offset.
func (c *compiler) addFields(s *shape, t reflect.Type, path string, offset uintptr, names map[string]string) error {
	for i := range t.NumField() {
		f := t.Field(i)
		at := path + "." + f.Name

		if f.Name == "_" {
			if tag := f.Tag.Get("cbor"); tag != "" && tag != "-" {
				return refuse(at, fmt.Sprintf("the option %q is not supported: remove it", tag))
			}
			continue // padding: there is nothing to lose
		}
		tag, err := parseTag(f.Tag)
		if err != nil {
			return refuse(at, err.Error())
		}
		if f.Anonymous && tag.name == "" && structKind(f.Type) {
			if err := c.addEmbedded(s, f, at, offset, names); err != nil {
				return err
			}
			continue
		}
		if !f.IsExported() {
			if f.Type.Size() == 0 {
				continue // nothing to lose either
			}
			return refuse(at, "unexported, so it would be lost: export it, "+
				"or give the type MarshalBinary and UnmarshalBinary")
		}
		if tag.skip {
			return refuse(at, `tagged "-", so it would be lost: remove the tag, or add a cbor tag with a name`)
		}

		part, err := c.compile(f.Type, at)
		if err != nil {
			return err
		}
		if why := tag.loses(part, f.Type); why != "" {
			return refuse(at, why)
		}
		key := tag.key(f.Name)
		if other, ok := names[key]; ok {
			return refuse(at, fmt.Sprintf("has the same name as %s, so one would be lost: "+
				"add a cbor tag with another name", other))
		}
		names[key] = at
		s.fields = append(s.fields, field{key, offset + f.Offset, part, tag.omitEmpty || tag.omitZero})
	}
	return nil
}

// addEmbedded adds the fields of the embedded struct f.
func (c *compiler) addEmbedded(s *shape, f reflect.StructField, at string, offset uintptr, names map[string]string) error {
	if f.Type.Kind() == reflect.Ptr {
		return refuse(at, "embedded pointer: give the field a name")
	}
	var e shape
	if done, err := c.special(&e, f.Type, at); err != nil {
		return err
	} else if done {
		return refuse(at, "embedded type that encodes itself: give the field a name")
	}
	if tag, _ := parseTag(f.Tag); tag.skip && f.Type.Size() != 0 {
		return refuse(at, `tagged "-", so it would be lost: remove the tag`)
	}
	return c.addFields(s, f.Type, at, offset+f.Offset, names)
}

// structKind reports whether t is a struct or points to one.
func structKind(t reflect.Type) bool {
	for t.Kind() == reflect.Ptr {
		t = t.Elem()
	}
	return t.Kind() == reflect.Struct
}

// fieldTag is what a field's tag asks for.
type fieldTag struct {
	name                string
	skip                bool
	omitEmpty, omitZero bool
	asInt               bool
	number              int // the name, if asInt
}

// parseTag reads a tag as packages for CBOR do: the one named json counts if there is none named cbor.
func parseTag(st reflect.StructTag) (t fieldTag, err error) {
	tag := st.Get("cbor")
	if tag == "" {
		tag = st.Get("json")
	}
	if tag == "-" {
		return fieldTag{skip: true}, nil
	}
	name, options, _ := strings.Cut(tag, ",")
	t.name = name
	for o := range strings.SplitSeq(options, ",") {
		switch o {
		case "omitempty":
			t.omitEmpty = true
		case "omitzero":
			t.omitZero = true
		case "keyasint":
			t.asInt = true
		}
	}
	if t.asInt {
		if t.number, err = strconv.Atoi(t.name); err != nil {
			return t, errTag
		}
	}
	return t, nil
}

// loses says why the tag's options would change values of the field, or "".
func (t fieldTag) loses(s *shape, typ reflect.Type) string {
	const remedy = "remove it, or add a cbor tag without it"
	if t.omitEmpty {
		switch s.class {
		case sequence, mapping, run:
			if s.length < 0 {
				return "omitempty turns what is empty into nil: " + remedy
			}
		case selfBinary, selfCBOR:
			return "omitempty of a type that encodes itself may lose it: " + remedy
		}
	}
	if t.omitZero && s.class != timestamp && s.class != pointer && s.class != object &&
		reflect.PointerTo(typ).Implements(zeroer) {
		return "omitzero goes by the type's method IsZero, and may lose the value: " + remedy
	}
	return ""
}

// key is the encoded name of the field.
func (t fieldTag) key(goName string) string {
	switch {
	case t.asInt && t.number >= 0:
		return string(appendHead(nil, majorUint, uint64(t.number)))
	case t.asInt:
		return string(appendHead(nil, majorNegInt, uint64(-1-t.number)))
	case t.name != "":
		goName = t.name
	}
	return string(append(appendHead(nil, majorText, uint64(len(goName))), goName...))
}
