// Package arbitrary makes up requests' parts: values that fit a JSON Schema, and values that do not. All choices come from one source
// of randomness, so that the same source makes the same value.
//
//	g := &arbitrary.Generator{Rand: rand.New(rand.NewPCG(1, 2))}
//	body := g.Value(schema, "")
//	what := g.Spoil(schema, &body)
//	data := arbitrary.Encode(body)
package arbitrary
