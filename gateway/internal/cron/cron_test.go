package cron_test

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tarento/copilot/gateway/internal/cron"
)

const clock = "2006-01-02 15:04 -07:00"

func place(t *testing.T, name string) *time.Location {
	t.Helper()
	zone, err := cron.Zone(name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return zone
}

func parse(t *testing.T, text string) cron.Expression {
	t.Helper()
	e, err := cron.Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return e
}

func TestNextIsWhatTheExpressionSays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, cron, after, want string }{
		{"every five minutes", "*/5 * * * *", "2026-01-01 00:00 +00:00", "2026-01-01 00:05 +00:00 | 2026-01-01 00:10 +00:00"},
		{"working days at nine", "0 9 * * mon-fri", "2026-01-02 09:00 +00:00", "2026-01-05 09:00 +00:00 | 2026-01-06 09:00 +00:00"},
		{"Sunday as 0", "0 0 * * 0", "2026-01-01 00:00 +00:00", "2026-01-04 00:00 +00:00"},
		{"Sunday as 7", "0 0 * * 7", "2026-01-01 00:00 +00:00", "2026-01-04 00:00 +00:00"},
		{"the weekend as a range", "0 0 * * 6-7", "2026-01-01 00:00 +00:00", "2026-01-03 00:00 +00:00 | 2026-01-04 00:00 +00:00"},
		{"every other day of the week", "0 0 * * */2", "2026-01-04 12:00 +00:00", "2026-01-06 00:00 +00:00 | 2026-01-08 00:00 +00:00 | 2026-01-10 00:00 +00:00 | 2026-01-11 00:00 +00:00"},
		{"a list and a range with a step", "5,10-20/5 3 * * *", "2026-01-01 03:05 +00:00", "2026-01-01 03:10 +00:00 | 2026-01-01 03:15 +00:00 | 2026-01-01 03:20 +00:00 | 2026-01-02 03:05 +00:00"},
		{"a day of the month or of the week", "0 0 13 * FRI", "2026-01-01 00:00 +00:00", "2026-01-02 00:00 +00:00 | 2026-01-09 00:00 +00:00 | 2026-01-13 00:00 +00:00"},
		{"every other date that is a Monday", "0 0 */2 * mon", "2026-01-01 00:00 +00:00", "2026-01-05 00:00 +00:00 | 2026-01-19 00:00 +00:00"},
		{"the 31st, which not every month has", "0 0 31 * *", "2026-01-31 00:00 +00:00", "2026-03-31 00:00 +00:00 | 2026-05-31 00:00 +00:00"},
		{"a leap day", "0 0 29 2 *", "2026-01-01 00:00 +00:00", "2028-02-29 00:00 +00:00 | 2032-02-29 00:00 +00:00"},
		{"a leap day after a century without one", "0 0 29 feb *", "2096-03-01 00:00 +00:00", "2104-02-29 00:00 +00:00"},
		{"the end of a year", "59 23 31 12 *", "2026-12-31 23:59 +00:00", "2027-12-31 23:59 +00:00"},
		{"hourly", "@hourly", "2026-01-01 00:30 +00:00", "2026-01-01 01:00 +00:00"},
		{"daily", "@daily", "2026-01-01 00:30 +00:00", "2026-01-02 00:00 +00:00"},
		{"weekly", "@Weekly", "2026-01-01 00:30 +00:00", "2026-01-04 00:00 +00:00"},
		{"monthly", "@monthly", "2026-01-01 00:30 +00:00", "2026-02-01 00:00 +00:00"},
		{"yearly", "@yearly", "2026-01-01 00:30 +00:00", "2027-01-01 00:00 +00:00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			comes(t, c.cron, "UTC", c.after, c.want)
		})
	}
}

// comes compares what an expression comes to with a list of times.
func comes(t *testing.T, expression, zone, after, want string) {
	t.Helper()
	wanted := strings.Split(want, " | ")
	begin, err := time.Parse(clock, after)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, at := range parse(t, expression).Following(begin, place(t, zone), len(wanted)) {
		got = append(got, at.Format(clock))
	}
	if !slices.Equal(got, wanted) {
		t.Errorf("%s in %s after %s comes\n at  %s\nwant %s", expression, zone, after, strings.Join(got, " | "), want)
	}
}

// What happens when clocks are put forward and back. It is a promise to users: docs/schedules.md tells the same.
func TestClocksThatArePutForwardAndBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, cron, zone, after, want string }{
		{
			"a time of day that is skipped comes when the clock jumps", "30 2 * * *", "America/New_York",
			"2026-03-07 12:00 -05:00", "2026-03-08 03:00 -04:00 | 2026-03-09 02:30 -04:00",
		},
		{
			"several times that are skipped come as one", "*/15 2 * * *", "Europe/Berlin",
			"2026-03-28 12:00 +01:00", "2026-03-29 03:00 +02:00 | 2026-03-30 02:00 +02:00",
		},
		{
			"a time that is skipped and the one at the jump are one", "0 2,3 * * *", "Europe/Berlin",
			"2026-03-28 12:00 +01:00", "2026-03-29 03:00 +02:00 | 2026-03-30 02:00 +02:00",
		},
		{
			"every hour goes on over the skipped one", "30 * * * *", "Europe/Berlin",
			"2026-03-29 00:30 +01:00", "2026-03-29 01:30 +01:00 | 2026-03-29 03:30 +02:00 | 2026-03-29 04:30 +02:00",
		},
		{
			"every quarter of an hour goes on, too", "*/15 * * * *", "Europe/Berlin",
			"2026-03-29 01:30 +01:00", "2026-03-29 01:45 +01:00 | 2026-03-29 03:00 +02:00 | 2026-03-29 03:15 +02:00",
		},
		{
			"a time of day that comes twice counts the first time", "30 1 * * *", "America/New_York",
			"2026-10-31 12:00 -04:00", "2026-11-01 01:30 -04:00 | 2026-11-02 01:30 -05:00",
		},
		{
			"the times of a named hour that comes twice, likewise", "0,30 2 * * *", "Europe/Berlin",
			"2026-10-25 00:00 +02:00", "2026-10-25 02:00 +02:00 | 2026-10-25 02:30 +02:00 | 2026-10-26 02:00 +01:00",
		},
		{
			"every hour comes in both of the two", "0 * * * *", "Europe/Berlin",
			"2026-10-25 01:00 +02:00", "2026-10-25 02:00 +02:00 | 2026-10-25 02:00 +01:00 | 2026-10-25 03:00 +01:00",
		},
		{
			"every other hour names hours", "0 */2 * * *", "Europe/Berlin",
			"2026-10-25 00:00 +02:00", "2026-10-25 02:00 +02:00 | 2026-10-25 04:00 +01:00",
		},
		{
			"midnight that is skipped", "0 0 * * *", "America/Santiago",
			"2026-09-05 00:00 -04:00", "2026-09-06 01:00 -03:00 | 2026-09-07 00:00 -03:00",
		},
		{
			"a day without a midnight keeps its noon", "0 12 6 9 *", "America/Santiago",
			"2026-09-01 00:00 -04:00", "2026-09-06 12:00 -03:00",
		},
		{
			"every hour of a day without a midnight", "0 * * * 0", "America/Santiago",
			"2026-09-05 12:00 -04:00", "2026-09-06 01:00 -03:00 | 2026-09-06 02:00 -03:00",
		},
		{
			"half an hour that is skipped", "15 2 * * *", "Australia/Lord_Howe",
			"2026-10-03 12:00 +10:30", "2026-10-04 02:30 +11:00 | 2026-10-05 02:15 +11:00",
		},
		{
			"half an hour that comes twice", "45 1 * * *", "Australia/Lord_Howe",
			"2026-04-04 12:00 +11:00", "2026-04-05 01:45 +11:00 | 2026-04-06 01:45 +10:30",
		},
		{
			"a whole day that a place left out", "0 12 30 * *", "Pacific/Apia",
			"2011-12-01 00:00 -10:00", "2011-12-31 00:00 +14:00 | 2012-01-30 12:00 +14:00",
		},
		{
			"a place that never changes", "30 2 * * *", "Asia/Kolkata",
			"2026-03-28 12:00 +05:30", "2026-03-29 02:30 +05:30 | 2026-03-30 02:30 +05:30",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			comes(t, c.cron, c.zone, c.after, c.want)
		})
	}
}

func TestWhatIsNoExpressionIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, cron, says string }{
		{"nothing", "", "5 fields"},
		{"four fields", "* * * *", "5 fields"},
		{"seconds", "0 * * * * *", "found 6"},
		{"a year", "0 0 1 1 * 2030", "found 6"},
		{"a zone", "TZ=UTC * * * * *", "no time zone"},
		{"a zone as cron says it", "CRON_TZ=Europe/Berlin * * * * *", "no time zone"},
		{"a zone alone", "TZ=0", "no time zone"},
		{"an interval", "@every 10s", "five fields"},
		{"a long interval", "@every 1h", "five fields"},
		{"a start", "@reboot", "five fields"},
		{"another name", "@never", "five fields"},
		{"the 30th of February", "0 0 30 2 *", "never comes"},
		{"the 31st of short months", "0 0 31 2,4,6,9,11 *", "never comes"},
		{"the 31st of a short month and any day of the week", "0 0 31 4 */2", "never comes"},
		{"minute 60", "60 * * * *", "0 to 59 in the minute"},
		{"hour 24", "0 24 * * *", "0 to 23 in the hour"},
		{"day 0", "0 0 0 * *", "1 to 31 in the day of month"},
		{"month 13", "0 0 1 13 *", "1 to 12 in the month"},
		{"weekday 8", "0 0 * * 8", "0 to 7 in the day of week"},
		{"a name in the wrong field", "0 0 mon * *", "day of month"},
		{"a long name", "0 0 * * monday", "day of week"},
		{"a range backwards", "30-10 * * * *", "smaller number"},
		{"a step of 0", "*/0 * * * *", "a step from 1"},
		{"a step without a number", "*/ * * * *", "a step from 1"},
		{"a step of one number", "5/15 * * * *", "a range before the /"},
		{"two steps", "*/5/2 * * * *", "a step"},
		{"two ranges", "1-2-3 * * * *", "0 to 59"},
		{"an end of a list", "1, * * * *", "0 to 59"},
		{"a sign", "+1 * * * *", "0 to 59"},
		{"a negative number", "-1 * * * *", "0 to 59"},
		{"a question mark", "0 0 ? * *", "day of month"},
		{"a last day", "0 0 L * *", "day of month"},
		{"a big number", "99999999999999999999 * * * *", "0 to 59"},
		{"other digits", "٣ * * * *", "0 to 59"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if _, err := cron.Parse(c.cron); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%q: %v, want an error that says %q", c.cron, err, c.says)
			}
		})
	}
}

func TestPlacesGoByTheirNames(t *testing.T) {
	t.Parallel()
	for name, known := range map[string]bool{
		"UTC": true, "Europe/Berlin": true, "America/Argentina/Buenos_Aires": true,
		"": false, "Local": false, "+02:00": false, "CEST": false, "Europe/Nowhere": false, "../UTC": false, "/etc/localtime": false,
		"right/UTC": false,
	} {
		if _, err := cron.Zone(name); (err == nil) != known {
			t.Errorf("%q: %v, want it known: %t", name, err, known)
		}
	}
}

// moment is what a property is tried with: a random expression, place and time of this and the next decades.
type moment struct {
	fields [5]field
	zone   string
	after  time.Time
}

// field is a field of an expression, and which numbers it means.
type field struct {
	text  string
	star  bool
	means func(n int) bool
}

func someField(r *rand.Rand, low, high int) field {
	n := low + r.IntN(high-low+1)
	switch r.IntN(5) {
	case 0, 1:
		return field{"*", true, func(int) bool { return true }}
	case 2:
		step := 1 + r.IntN(high)
		return field{"*/" + strconv.Itoa(step), true, func(m int) bool { return (m-low)%step == 0 }}
	case 3:
		last := n + r.IntN(high-n+1)
		return field{strconv.Itoa(n) + "-" + strconv.Itoa(last), false, func(m int) bool { return m >= n && m <= last }}
	default:
		return field{strconv.Itoa(n), false, func(m int) bool { return m == n }}
	}
}

func someMoment(t *testing.T, r *rand.Rand) moment {
	t.Helper()
	zones := []string{
		"UTC", "Europe/Berlin", "America/New_York", "America/Santiago", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kathmandu",
		"Pacific/Chatham", "Africa/Cairo", "America/Havana", "Asia/Beirut", "America/St_Johns",
	}
	m := moment{zone: zones[r.IntN(len(zones))]}
	for i, bounds := range [5][2]int{{0, 59}, {0, 23}, {1, 28}, {1, 12}, {0, 6}} {
		m.fields[i] = someField(r, bounds[0], bounds[1])
	}
	// A third of them near a change of the clocks, if there is one that year.
	year := 2020 + r.IntN(15)
	m.after = time.Date(year, 1, 1+r.IntN(365), r.IntN(24), r.IntN(60), r.IntN(60), r.IntN(1e9), time.UTC)
	if _, change := m.after.In(place(t, m.zone)).ZoneBounds(); r.IntN(3) == 0 && !change.IsZero() {
		m.after = change.Add(time.Duration(r.IntN(6*3600)-4*3600) * time.Second)
	}
	return m
}

func (m moment) String() string {
	return m.cron() + " in " + m.zone + " after " + m.after.Format(time.RFC3339Nano)
}

func (m moment) cron() string {
	texts := make([]string, len(m.fields))
	for i, f := range m.fields {
		texts[i] = f.text
	}
	return strings.Join(texts, " ")
}

// fits reports whether the expression means what a clock shows.
func (m moment) fits(shown time.Time) bool {
	day, weekday := m.fields[2], m.fields[4]
	onDay := day.means(shown.Day()) && weekday.means(int(shown.Weekday()))
	if !day.star && !weekday.star {
		onDay = day.means(shown.Day()) || weekday.means(int(shown.Weekday()))
	}
	return onDay && m.fields[0].means(shown.Minute()) && m.fields[1].means(shown.Hour()) && m.fields[3].means(int(shown.Month()))
}

// passes reports whether the expression comes at this minute, by another way: it walks a clock, and remembers what it has shown.
func (m moment) passes(at time.Time, zone *time.Location) bool {
	everyHour := true
	for h := range 24 {
		everyHour = everyHour && m.fields[1].means(h)
	}
	now, before := shown(at, zone), shown(at.Add(-time.Minute), zone)
	if everyHour {
		return m.fits(now)
	}
	// What the clock has skipped on the way to this minute.
	for skipped := before.Add(time.Minute); skipped.Before(now); skipped = skipped.Add(time.Minute) {
		if m.fits(skipped) {
			return true
		}
	}
	if !m.fits(now) {
		return false
	}
	// Whether it showed the same before.
	for earlier := at.Add(-time.Minute); at.Sub(earlier) <= 3*time.Hour; earlier = earlier.Add(-time.Minute) {
		if shown(earlier, zone).Equal(now) {
			return false
		}
	}
	return true
}

func shown(at time.Time, zone *time.Location) time.Time {
	at = at.In(zone)
	return time.Date(at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), 0, 0, time.UTC)
}

func TestNextComesAfterAndNothingIsBetween(t *testing.T) {
	t.Parallel()
	const tries = 500
	seed, near := rand.Uint64(), 0
	r := rand.New(rand.NewPCG(seed, 0))
	for range tries {
		m := someMoment(t, r)
		zone, e := place(t, m.zone), parse(t, m.cron())
		next := e.Next(m.after, zone)
		again := e.Next(next.Add(-time.Nanosecond), zone)
		switch {
		case !next.After(m.after) || next.Second() != 0 || next.Nanosecond() != 0:
			t.Fatalf("seed %d: %s: %s is not a minute after it", seed, m, next)
		case !m.passes(next, zone):
			t.Fatalf("seed %d: %s: %s is none of its times", seed, m, next.In(zone))
		case !again.Equal(next):
			t.Fatalf("seed %d: %s: %s, and a moment before it %s", seed, m, next, again)
		case next.Sub(m.after) > 3*24*time.Hour:
			continue // days are walked, years are not
		}
		near++
		for at := m.after.Truncate(time.Minute).Add(time.Minute); at.Before(next); at = at.Add(time.Minute) {
			if m.passes(at, zone) {
				t.Fatalf("seed %d: %s: it comes at %s already, and not at %s", seed, m, at.In(zone), next)
			}
		}
	}
	if near < tries/5 {
		t.Errorf("only %d of %d were near enough to walk", near, tries)
	}
}

func FuzzWhatCanBeReadComes(f *testing.F) {
	for _, seed := range []string{"*/5 * * * *", "0 9 * * mon-fri", "@daily", "TZ=0", "0 0 31 2 *", "1-5/2,7 * 1 jan 0-7"} {
		f.Add(seed, int64(1_790_000_000))
	}
	f.Fuzz(func(t *testing.T, text string, unix int64) {
		e, err := cron.Parse(text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "expected ") {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		after := time.Unix(unix%(1<<36), 0)
		if next := e.Next(after, place(t, "Europe/Berlin")); !next.After(after) {
			t.Errorf("%q after %s: %s", text, after, next)
		}
	})
}
