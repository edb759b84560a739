package lifecycle_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarento/copilot/pkg/lifecycle"
)

func TestAPauseLastsAsLongAsItIsToOrAsItsContext(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		pause, alive, want time.Duration
		goesOn             bool
	}{
		"to its end":                        {time.Minute, time.Hour, time.Minute, true},
		"until the context ends":            {time.Hour, time.Minute, time.Minute, false},
		"no time for nothing":               {0, time.Hour, 0, true},
		"no time for less":                  {-time.Second, time.Hour, 0, true},
		"no time with a context that ended": {0, 0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), c.alive)
				defer cancel()
				began := time.Now()
				if goesOn := lifecycle.Pause(ctx, c.pause); goesOn != c.goesOn || time.Since(began) != c.want {
					t.Errorf("it lasted %s and said %t, want %s and %t", time.Since(began), goesOn, c.want, c.goesOn)
				}
			})
		})
	}
}
