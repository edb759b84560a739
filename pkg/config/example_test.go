package config_test

import (
	"fmt"
	"time"

	"github.com/tarento/copilot/pkg/config"
	"github.com/tarento/copilot/pkg/secret"
)

type worker struct {
	Slots int           `env:"SLOTS" envDefault:"8" desc:"Jobs that run at once."`
	Drain time.Duration `env:"DRAIN" envDefault:"20s" desc:"Time running jobs get to finish when the worker stops."`
	Model struct {
		Key secret.Text `env:"KEY,required" desc:"Key of the model's API."`
	} `envPrefix:"MODEL_"`
}

func ExampleLoad() {
	var cfg worker
	err := config.Load(&cfg, map[string]string{"SLOTS": "many"})
	fmt.Println(err)
	// Output:
	// the configuration has 2 problems:
	//   SLOTS is "many", which is not a whole number
	//     Jobs that run at once.
	//   MODEL_KEY is not set, and neither is MODEL_KEY_FILE
	//     Key of the model's API.
}

func ExampleUsage() {
	fmt.Print(config.Usage(config.Describe(worker{})))
	// Output:
	//   SLOTS  whole number, default 8
	//       Jobs that run at once.
	//   DRAIN  duration, default 20s
	//       Time running jobs get to finish when the worker stops.
	//   MODEL_KEY  secret, required, or a file named by MODEL_KEY_FILE
	//       Key of the model's API.
}

func ExampleMarkdown() {
	fmt.Print(config.Markdown(config.Describe(worker{})))
	// Output:
	// | Variable | Type | Default | Purpose |
	// |---|---|---|---|
	// | `SLOTS` | whole number | `8` | Jobs that run at once. |
	// | `DRAIN` | duration | `20s` | Time running jobs get to finish when the worker stops. |
	// | `MODEL_KEY` | secret | **required** | Key of the model's API. |
}
