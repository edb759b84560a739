// Package config fills a struct from environment variables and documents it from the same tags.
//
// A configuration is a plain struct. Each field that is a variable has an `env` tag with its name and a `desc` tag that says
// what it is for; `envDefault` gives a default, `env:"NAME,required"` demands a value. A field that is a struct without an
// `env` tag groups variables; `envPrefix` puts a prefix before their names:
//
//	type Config struct {
//		Listen   string        `env:"LISTEN" envDefault:":8080" desc:"Address the API listens on."`
//		Drain    time.Duration `env:"DRAIN" envDefault:"20s" desc:"Time open requests get when the gateway stops."`
//		Database Postgres      `envPrefix:"DATABASE_"`
//	}
//
//	type Postgres struct {
//		URL secret.Text `env:"URL,required" desc:"Where the record is kept, with the application role's password."`
//	}
//
// [Load] reports everything that is wrong at once, with the variable, the reason and the purpose, and never a secret's value.
// A variable that is set but empty counts as not set. A secret (a field of type secret.Text) can also be given as NAME_FILE,
// the path of a file that holds it, as container platforms mount them.
//
// What the tags cannot say is said by a Validate method on the struct, the outer or any nested one; see [Validator].
//
// [Describe] lists the variables, [Usage] prints them for -h, [Markdown] for the reference in docs/.
package config
