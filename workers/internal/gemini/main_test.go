package gemini_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// The SDK links OpenCensus, which starts one goroutine for the life of the process.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

const (
	chatModel  = "gemini-2.5-flash"
	embedModel = "gemini-embedding-001"
)
