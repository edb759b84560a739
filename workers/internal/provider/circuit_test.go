package provider

import (
	"testing"
	"testing/synctest"
	"time"
)

// model is the one that the tests call.
const model = "m"

func call(t *testing.T, l *local) answer {
	t.Helper()
	a := l.admit(model, ask{})
	if a.reason != admitted {
		t.Fatalf("refused: %v for %s", a.reason, a.wait)
	}
	return a
}

func refused(t *testing.T, l *local, why reason) answer {
	t.Helper()
	a := l.admit(model, ask{})
	if a.reason != why {
		t.Fatalf("got %v, want %v", a.reason, why)
	}
	return a
}

// pass lets time pass in the bubble of a test.
func pass(d time.Duration) { <-time.After(d) }

// end reports a call whose pauses have no jitter.
func end(l *local, a answer, o outcome, asked time.Duration) answer {
	return l.settle(model, report{outcome: o, epoch: a.epoch, asked: asked, jitter: 1000})
}

func TestACircuitStaysOpenForAsLongAsTheProviderAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLocal()
		if said := end(l, call(t, l), throttled, 37*time.Second); !said.changed || said.wait != 37*time.Second {
			t.Errorf("said %+v", said)
		}
		pass(37*time.Second - time.Millisecond)
		if a := refused(t, l, circuitOpen); a.state != open || a.wait != time.Millisecond {
			t.Errorf("said %+v", a)
		}
		pass(time.Millisecond)
		if a := call(t, l); a.state != halfOpen {
			t.Errorf("it is %v", a.state)
		}
	})
}

func TestOneProbeAtATimeFindsOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLocal()
		end(l, call(t, l), throttled, time.Second)
		pass(time.Second)
		probe := call(t, l)
		for range 100 {
			refused(t, l, circuitProbed)
		}
		if said := end(l, probe, answered, 0); !said.changed || said.state != closed {
			t.Errorf("said %+v", said)
		}
		call(t, l)
	})
}

func TestAProbeThatIsLostMakesRoomForAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLocal()
		end(l, call(t, l), throttled, time.Second)
		pass(time.Second)
		lost := call(t, l)
		pass(probeFor - time.Millisecond)
		refused(t, l, circuitProbed)
		pass(time.Millisecond)
		call(t, l)
		refused(t, l, circuitProbed)
		if said := end(l, lost, answered, 0); said.state != closed {
			t.Error("an answer that came late counts for nothing")
		}
	})
}

func TestAProbeThatSaysNothingLeavesItsPlaceToAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLocal()
		end(l, call(t, l), throttled, time.Second)
		pass(time.Second)
		end(l, call(t, l), neutral, 0)
		if a := call(t, l); a.state != halfOpen {
			t.Errorf("it is %v", a.state)
		}
	})
}

func TestPausesGrowUntilTheProviderAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLocal()
		for _, want := range []float64{1, 2, 4, 8, 16, 30, 30} {
			said := end(l, call(t, l), throttled, 0)
			if said.wait.Seconds() != want {
				t.Errorf("paused %s, want %g s", said.wait, want)
			}
			pass(said.wait)
		}
		end(l, call(t, l), answered, 0)
		if said := end(l, call(t, l), throttled, 0); said.wait != longestPause {
			t.Errorf("a provider that was well for a moment is asked after %s", said.wait)
		}
		pass(longestPause)
		end(l, call(t, l), answered, 0)
		pass(steady + time.Second)
		if said := end(l, call(t, l), throttled, 0); said.wait != firstPause {
			t.Errorf("a provider that was well for long is asked after %s", said.wait)
		}
	})
}

func TestFailuresInARowOpenTheCircuit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		between func(l *local, a answer)
		opens   bool
	}{
		{"when nothing comes between them", func(*local, answer) {}, true},
		{"also when callers leave between them", func(l *local, a answer) { end(l, a, neutral, 0) }, true},
		{"but not when the provider answers between them", func(l *local, a answer) { end(l, a, answered, 0) }, false},
		{"and not when they are far from each other", func(*local, answer) { pass(steady + time.Second) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := newLocal()
				for range failuresToOpen - 1 {
					if end(l, call(t, l), failed, 0).state != closed {
						t.Fatal("it opened too early")
					}
				}
				c.between(l, call(t, l))
				if is := end(l, call(t, l), failed, 0).state; (is == open) != c.opens {
					t.Errorf("it is %v", is)
				}
			})
		})
	}
}

func TestLateReportsOfOldCallsChangeNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLocal()
		var old []answer
		for range 20 {
			old = append(old, call(t, l))
		}
		end(l, call(t, l), throttled, 0)
		for _, a := range old[:18] {
			end(l, a, failed, 0)
		}
		end(l, old[18], answered, 0)
		if a := refused(t, l, circuitOpen); a.wait != firstPause {
			t.Errorf("it is open for %s", a.wait)
		}
		end(l, old[19], throttled, 9*time.Second)
		if a := refused(t, l, circuitOpen); a.wait != 9*time.Second {
			t.Errorf("what the provider asked for at last is not kept: %s", a.wait)
		}
	})
}

func TestAProviderThatAsksForDaysIsAskedAgainAfterAnHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLocal()
		if said := end(l, call(t, l), throttled, 72*time.Hour); said.wait != askedMax {
			t.Errorf("it is open for %s", said.wait)
		}
	})
}

func TestTheLineReachesNoFartherThanItMay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLocal()
		end(l, call(t, l), throttled, time.Minute)
		var last time.Duration
		for range 10_000 {
			a := l.admit(model, ask{line: bulkLine})
			if a.wait < last || a.wait < time.Minute {
				t.Fatalf("somebody comes back after %s, who came after one that comes back after %s", a.wait, last)
			}
			last = a.wait
		}
		if want := time.Minute + 9_999*abreast; last != want {
			t.Errorf("the last of 10,000 comes back after %s, want %s", last, want)
		}
		for range 100_000 {
			last = l.admit(model, ask{line: bulkLine}).wait
		}
		if last > time.Minute+lineMax {
			t.Errorf("the line reaches %s", last)
		}
	})
}
