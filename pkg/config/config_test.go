package config_test

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tarento/copilot/pkg/config"
	"github.com/tarento/copilot/pkg/secret"
)

type database struct {
	URL  secret.Text `env:"URL,required" desc:"Where the record is kept."`
	Pool int         `env:"POOL" envDefault:"10" desc:"Connections at most."`
	Min  int         `env:"MIN" desc:"Connections at least."`
}

func (d database) Validate() error {
	if d.Min > d.Pool {
		return config.Invalid("MIN", "is %d, above the pool's %d", d.Min, d.Pool)
	}
	return nil
}

type Limits struct {
	Rate  float64 `env:"RATE" envDefault:"2.5" desc:"Requests a second."`
	Burst uint8   `env:"BURST" envDefault:"20" desc:"Requests at once."`
}

type settings struct {
	Environment string         `env:"ENVIRONMENT" envDefault:"development" desc:"Which installation this is."`
	Listen      string         `env:"LISTEN" envDefault:":8080" desc:"Address | port."`
	Drain       time.Duration  `env:"DRAIN" envDefault:"20s" desc:"Time to stop."`
	Level       slog.Level     `env:"LOG_LEVEL" envDefault:"info" desc:"Least severe log line written."`
	Public      *url.URL       `env:"PUBLIC_URL" desc:"Where clients reach the API."`
	Origins     []string       `env:"ORIGINS" desc:"Sites that may call."`
	Keys        []secret.Text  `env:"KEYS" desc:"Signing keys."`
	Weights     map[string]int `env:"WEIGHTS" envSeparator:";" desc:"Share of each plan."`
	Debug       bool           `env:"DEBUG" desc:"Say more."`
	Main        database       `envPrefix:"DATABASE_"`
	Replica     database       `envPrefix:"REPLICA_"`
	Limits
	unseen int
}

func (s settings) Validate() error {
	if s.Environment == "production" && s.Debug {
		return errors.Join(config.Invalid("DEBUG", "must be off in production"), errors.New("production is strict"))
	}
	return nil
}

func usable() map[string]string {
	return map[string]string{"DATABASE_URL": "postgres://main:pw@db/x", "REPLICA_URL": "postgres://replica:pw@db/x"}
}

func with(environ map[string]string, pairs ...string) map[string]string {
	environ = maps.Clone(environ)
	for i := 0; i < len(pairs); i += 2 {
		environ[pairs[i]] = pairs[i+1]
	}
	return environ
}

func TestLoadFillsEveryKindOfField(t *testing.T) {
	t.Parallel()
	var s settings
	err := config.Load(&s, with(usable(),
		"LISTEN", "127.0.0.1:9", "DRAIN", "3s", "LOG_LEVEL", "warn", "PUBLIC_URL", "https://api.example", "ORIGINS", "a,b",
		"KEYS", "k1,k2", "WEIGHTS", "pro:3;free:1", "DEBUG", "true", "REPLICA_POOL", "4", "REPLICA_MIN", "4", "RATE", "0.5", "BURST", ""))
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintln(s.Environment, s.Listen, s.Drain, s.Level, s.Public, s.Origins, s.Keys[0].Reveal(), s.Keys[1].Reveal(), s.Weights,
		s.Debug, s.Main.Pool, s.Main.URL.Reveal(), s.Replica.Pool, s.Replica.Min, s.Replica.URL.Reveal(), s.Rate, s.Burst, s.unseen)
	want := fmt.Sprintln("development", "127.0.0.1:9", 3*time.Second, slog.LevelWarn, "https://api.example", []string{"a", "b"}, "k1", "k2",
		map[string]int{"pro": 3, "free": 1}, true, 10, "postgres://main:pw@db/x", 4, 4, "postgres://replica:pw@db/x", 0.5, 20, 0)
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestLoadKeepsWhatAFieldHeldWhenNothingIsSaid(t *testing.T) {
	t.Parallel()
	s := settings{Origins: []string{"kept"}}
	if err := config.Load(&s, usable()); err != nil {
		t.Fatal(err)
	}
	if len(s.Origins) != 1 || s.Origins[0] != "kept" {
		t.Errorf("Origins = %v", s.Origins)
	}
}

func TestLoadSaysAllThatIsWrong(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		environ map[string]string
		want    []string // Variable and reason of each problem, in order
	}{
		"nothing is set": {map[string]string{}, []string{
			"DATABASE_URL is not set, and neither is DATABASE_URL_FILE",
			"REPLICA_URL is not set, and neither is REPLICA_URL_FILE",
		}},
		"a required variable is empty": {with(usable(), "REPLICA_URL", ""), []string{
			"REPLICA_URL is not set, and neither is REPLICA_URL_FILE",
		}},
		"values of wrong types in several places": {
			with(usable(), "DRAIN", "fast", "DATABASE_POOL", "many", "REPLICA_POOL", "1.5", "RATE", "x", "BURST", "256",
				"DEBUG", "perhaps"),
			[]string{
				`DRAIN is "fast", which is not a duration; write it like "90s" or "1h30m"`,
				`DEBUG is "perhaps", which is neither true nor false`,
				`DATABASE_POOL is "many", which is not a whole number`,
				`REPLICA_POOL is "1.5", which is not a whole number`,
				`RATE is "x", which is not a number`,
				`BURST is "256", which is not a whole number in the range that is allowed`,
			},
		},
		"a type of its own explains itself": {with(usable(), "LOG_LEVEL", "loud"), []string{
			`LOG_LEVEL is "loud", which is not a level: slog: level string "loud": unknown name`,
		}},
		"a URL is not repeated, it may hold a password": {with(usable(), "PUBLIC_URL", "http://u:hunter2@[bad"), []string{
			"PUBLIC_URL is not a URL",
		}},
		"nested values that do not fit together": {with(usable(), "REPLICA_POOL", "2", "REPLICA_MIN", "3"), []string{
			"REPLICA_MIN is 3, above the pool's 2",
		}},
		"outer values that do not fit together": {with(usable(), "ENVIRONMENT", "production", "DEBUG", "1"), []string{
			"DEBUG must be off in production", "production is strict",
		}},
		"a struct with an unreadable value is not validated, its neighbor is": {
			with(usable(), "DATABASE_POOL", "x", "DATABASE_MIN", "99", "REPLICA_MIN", "99"),
			[]string{`DATABASE_POOL is "x", which is not a whole number`, "REPLICA_MIN is 99, above the pool's 10"},
		},
		"a secret given twice": {with(usable(), "DATABASE_URL_FILE", "/nowhere"), []string{
			"DATABASE_URL is set, and so is DATABASE_URL_FILE; set one of them",
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s settings
			err := config.Load(&s, c.environ)
			var failed *config.Error
			if !errors.As(err, &failed) {
				t.Fatalf("Load = %v, want a *config.Error", err)
			}
			var got []string
			for _, p := range failed.Problems {
				got = append(got, p.Error())
				if p.Variable != "" && p.Purpose == "" {
					t.Errorf("%s has no purpose", p.Variable)
				}
				if !strings.Contains(err.Error(), p.Reason) || !strings.Contains(err.Error(), p.Purpose) {
					t.Errorf("the message leaves out %q:\n%v", p, err)
				}
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("problems\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
			if strings.Contains(err.Error(), "pw@") || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the message holds a secret:\n%v", err)
			}
			if failed.ExitCode() != 2 {
				t.Errorf("ExitCode = %d", failed.ExitCode())
			}
		})
	}
}

func TestSecretComesFromAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(path, []byte("from the file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var s settings
	if err := config.Load(&s, with(usable(), "DATABASE_URL", "", "DATABASE_URL_FILE", path)); err != nil {
		t.Fatal(err)
	}
	if got := s.Main.URL.Reveal(); got != "from the file" {
		t.Errorf("URL = %q", got)
	}
	err := config.Load(&s, with(usable(), "DATABASE_URL", "", "DATABASE_URL_FILE", path+".missing"))
	if err == nil || !strings.Contains(err.Error(), "DATABASE_URL cannot be read from the file that DATABASE_URL_FILE names") {
		t.Errorf("a missing file gives %v", err)
	}
}

func TestWronglyMadeStructsAreRefused(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		cfg  any
		want string
	}{
		"no pointer": {settings{}, "pointer to a struct"},
		"nil":        {(*settings)(nil), "pointer to a struct"},
		"no description": {&struct {
			A string `env:"A"`
		}{}, "A has no desc tag"},
		"unknown option": {&struct {
			A string `env:"A,file" desc:"a"`
		}{}, `unknown option "file"`},
		"required, defaulted": {&struct {
			A string `env:"A,required" envDefault:"x" desc:"a"`
		}{}, "choose one"},
		"secret in source": {&struct {
			A secret.Text `env:"A" envDefault:"x" desc:"a"`
		}{}, "a secret in the source"},
		"unexported": {&struct {
			a string `env:"A" desc:"a"`
		}{}, "not exported"},
		"neither": {&struct{ A string }{}, "neither a variable nor a group"},
		"unreadable type": {&struct {
			A chan int `env:"A" desc:"a"`
		}{}, "no text can fill"},
		"declared differently": {&struct {
			A string `env:"A" desc:"a"`
			B string `env:"A" desc:"b"`
		}{}, "declared twice and differently"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := config.Load(c.cfg, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("Load = %v, want %q", err, c.want)
			}
			if c.want == "pointer to a struct" {
				return
			}
			defer func() {
				if said := fmt.Sprint(recover()); !strings.Contains(said, c.want) {
					t.Errorf("Describe panicked with %v, want %q", said, c.want)
				}
			}()
			config.Describe(c.cfg)
		})
	}
}

func TestDescribeNeedsNoValues(t *testing.T) {
	t.Parallel()
	vars := config.Describe(settings{})
	got := map[string]config.Variable{}
	for _, v := range vars {
		got[v.Name] = v
	}
	want := []config.Variable{
		{Name: "DRAIN", Type: "duration", Default: "20s", Description: "Time to stop."},
		{Name: "KEYS", Type: "list of secret", Secret: true, Description: "Signing keys."},
		{Name: "WEIGHTS", Type: "list of text:whole number", Description: "Share of each plan."},
		{Name: "PUBLIC_URL", Type: "URL", Description: "Where clients reach the API."},
		{Name: "DATABASE_URL", Type: "secret", Required: true, Secret: true, Description: "Where the record is kept."},
		{Name: "REPLICA_POOL", Type: "whole number", Default: "10", Description: "Connections at most."},
		{Name: "BURST", Type: "whole number", Default: "20", Description: "Requests at once."},
	}
	for _, w := range want {
		if got[w.Name] != w {
			t.Errorf("got %+v\nwant %+v", got[w.Name], w)
		}
	}
	if len(vars) != 17 || vars[0].Name != "ENVIRONMENT" || vars[16].Name != "BURST" {
		t.Errorf("%d variables, from %s to %s", len(vars), vars[0].Name, vars[len(vars)-1].Name)
	}
}

func TestDescribeListsASharedVariableOnce(t *testing.T) {
	t.Parallel()
	type part struct {
		Zone string `env:"ZONE" desc:"Where this runs."`
	}
	type whole struct{ A, B part }
	if vars := config.Describe(&whole{}); len(vars) != 1 {
		t.Errorf("variables: %+v", vars)
	}
	var w whole
	if err := config.Load(&w, map[string]string{"ZONE": "z"}); err != nil || w.A.Zone != "z" || w.B.Zone != "z" {
		t.Errorf("Load = %v, %+v", err, w)
	}
}

func TestEnvironIsTheProcessEnvironment(t *testing.T) {
	t.Setenv("CONFIG_TEST_VALUE", "a=b")
	if got := config.Environ()["CONFIG_TEST_VALUE"]; got != "a=b" {
		t.Errorf("got %q", got)
	}
}
