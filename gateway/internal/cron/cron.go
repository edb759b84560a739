// Package cron reads cron expressions and says when they come in a place, with what clocks there do twice a year.
//
// An expression has the five fields of crontab: minute, hour, date, month, weekday. A field is a star, a number, a range a-b, a step */n
// or a-b/n, or a list of those with commas; months and days of the week have their English names, too, and Sunday is 0 or 7. As in
// crontab, when both the date and the weekday are said without a star, either will do. @hourly, @daily, @weekly, @monthly and @yearly
// stand for what they say.
//
// Clocks that are put forward or back meet two sorts of expressions:
//
//   - One that means every hour counts in time that passes. Of the hour that comes twice, it comes in both; of the hour that
//     is skipped, not at all.
//   - One that names hours names times of day, and comes at each of them once a day: at what comes twice the first time, and for what
//     is skipped, once, at the moment when the clock jumps.
package cron

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // where the machine has none: all gateways know the same places
)

// Expression is a cron expression that was read. It is a value without a place; the zero Expression never comes.
type Expression struct {
	// A bit stands for each number that fits.
	minutes, hours, days, months, weekdays uint64
	// either says that the day of the month or the day of the week must fit, and not both.
	either bool
}

// everyHour has a bit for each hour of the day.
const everyHour = 1<<24 - 1

// field is one of the five, with the numbers that it takes.
type field struct {
	name     string
	min, max int
	// names stand for min and what follows it.
	names []string
}

func fields() [5]field {
	return [5]field{
		{name: "minute", max: 59},
		{name: "hour", max: 23},
		{name: "day of month", min: 1, max: 31},
		{
			name: "month", min: 1, max: 12,
			names: []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"},
		},
		{name: "day of week", max: 7, names: []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
	}
}

// written is what a name stands for; empty for what is none.
func written(name string) string {
	switch strings.ToLower(name) {
	case "@hourly":
		return "0 * * * *"
	case "@daily", "@midnight":
		return "0 0 * * *"
	case "@weekly":
		return "0 0 * * 0"
	case "@monthly":
		return "0 0 1 * *"
	case "@yearly", "@annually":
		return "0 0 1 1 *"
	default:
		return ""
	}
}

// Parse reads an expression. Its errors say what was expected, for the person who wrote it. What would never come, such as the 30th of
// February, is an error.
func Parse(text string) (e Expression, err error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "@") {
		if text = written(text); text == "" {
			return e, errors.New("expected @hourly, @daily, @weekly, @monthly, @yearly or five fields such as */5 * * * *")
		}
	}
	if strings.Contains(text, "=") {
		return e, errors.New("expected no time zone or other setting in the expression")
	}
	parts := strings.Fields(text)
	if len(parts) != len(fields()) {
		return e, fmt.Errorf("expected 5 fields, minute, hour, date, month and weekday, and found %d", len(parts))
	}
	for i, into := range []*uint64{&e.minutes, &e.hours, &e.days, &e.months, &e.weekdays} {
		if *into, err = fields()[i].parse(parts[i]); err != nil {
			return Expression{}, err
		}
	}
	if e.weekdays&(1<<7) != 0 {
		e.weekdays |= 1
	}
	e.either = parts[2][0] != '*' && parts[4][0] != '*'
	if e.Next(time.Unix(0, 0), time.UTC).IsZero() {
		return Expression{}, errors.New("expected days that exist: this never comes")
	}
	return e, nil
}

// parse reads a field of an expression into bits.
func (f field) parse(text string) (set uint64, err error) {
	for item := range strings.SplitSeq(text, ",") {
		span, step, stepped := strings.Cut(item, "/")
		every := 1
		if stepped {
			if every, err = strconv.Atoi(step); err != nil || every < 1 || every > f.max || !digits(step) {
				return 0, fmt.Errorf("expected a step from 1 to %d after the / of the %s", f.max, f.name)
			}
		}
		from, to, ranged := strings.Cut(span, "-")
		first, last := f.min, f.max
		switch {
		case span == "*":
			if f.max == 7 { // which is Sunday again
				last = 6
			}
		case stepped && !ranged:
			return 0, fmt.Errorf("expected a * or a range before the / of the %s", f.name)
		default:
			if first, err = f.number(from); err != nil {
				return 0, err
			}
			if last = first; ranged {
				if last, err = f.number(to); err != nil {
					return 0, err
				}
			}
			if last < first {
				return 0, fmt.Errorf("expected the smaller number of a range of the %s first", f.name)
			}
		}
		for n := first; n <= last; n += every {
			set |= 1 << n
		}
	}
	return set, nil
}

// number reads a number of a field, or a name for one.
func (f field) number(text string) (int, error) {
	if i := slices.Index(f.names, strings.ToLower(text)); i >= 0 {
		return f.min + i, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || !digits(text) || n < f.min || n > f.max {
		return 0, fmt.Errorf("expected numbers from %d to %d in the %s", f.min, f.max, f.name)
	}
	return n, nil
}

// digits reports whether text is written with digits alone, at most two of them.
func digits(text string) bool {
	return text != "" && len(text) <= 2 && strings.Trim(text, "0123456789") == ""
}

// Zone returns the place of a name in the IANA database, such as Europe/Berlin or UTC.
func Zone(name string) (*time.Location, error) {
	// What the machine is set to is nobody's place, and clocks of the "right" ones count leap seconds.
	if name != "" && name != "Local" && !strings.HasPrefix(name, "right/") {
		if place, err := time.LoadLocation(name); err == nil {
			return place, nil
		}
	}
	return nil, errors.New("expected the name of a time zone, such as Europe/Berlin or UTC")
}

// horizon is how many years ahead an expression is looked for: no day of the calendar is further away than the 29th of February that
// is a given day of the week.
const horizon = 40

// Next returns when the expression comes in a place for the first time after the given moment; the zero time if it never does.
func (e Expression) Next(after time.Time, in *time.Location) time.Time {
	if e.hours == everyHour {
		return e.passing(after, in)
	}
	year, month, date := after.In(in).Date()
	day := time.Date(year, month, date, 0, 0, 0, 0, time.UTC)
	for day.Year() <= year+horizon {
		if e.on(day) {
			if t := e.within(day, after, in); !t.IsZero() {
				return t
			}
		}
		day = day.AddDate(0, 0, 1)
	}
	return time.Time{}
}

// Following returns the next n times.
func (e Expression) Following(after time.Time, in *time.Location, n int) []time.Time {
	times := make([]time.Time, 0, n)
	for range n {
		if after = e.Next(after, in); after.IsZero() {
			break
		}
		times = append(times, after)
	}
	return times
}

// on reports whether the expression comes on a day of the calendar.
func (e Expression) on(day time.Time) bool {
	if e.months>>day.Month()&1 == 0 {
		return false
	}
	dated, named := e.days>>day.Day()&1 == 1, e.weekdays>>day.Weekday()&1 == 1
	if e.either {
		return dated || named
	}
	return dated && named
}

// within is Next on one day, of an expression that names hours.
func (e Expression) within(day, after time.Time, in *time.Location) time.Time {
	for hours := e.hours; hours != 0; hours &= hours - 1 {
		hour := bits.TrailingZeros64(hours)
		if !moment(day, hour, 59, in).After(after) {
			continue
		}
		for minutes := e.minutes; minutes != 0; minutes &= minutes - 1 {
			if t := moment(day, hour, bits.TrailingZeros64(minutes), in); t.After(after) {
				return t
			}
		}
	}
	return time.Time{}
}

// passing is Next of an expression that means every hour.
func (e Expression) passing(after time.Time, in *time.Location) time.Time {
	t := after.Truncate(time.Minute).Add(time.Minute).In(in)
	for end := t.Year() + horizon; t.Year() <= end; {
		year, month, date := t.Date()
		day := time.Date(year, month, date, 0, 0, 0, 0, time.UTC)
		if e.on(day) {
			if e.minutes>>t.Minute()&1 == 1 {
				return t
			}
			t = t.Add(time.Minute)
			continue
		}
		// Where a clock is put back at midnight, the next day may have begun before.
		if begins := moment(day.AddDate(0, 0, 1), 0, 0, in); begins.After(t) {
			t = begins
		} else {
			t = t.Add(time.Minute)
		}
	}
	return time.Time{}
}

// moment is when the clocks of a place show this for the first time. What they skip is when they jump.
func moment(day time.Time, hour, minute int, in *time.Location) time.Time {
	year, month, date := day.Date()
	t := time.Date(year, month, date, hour, minute, 0, 0, in)
	wanted := time.Date(year, month, date, hour, minute, 0, 0, time.UTC)
	start, end := t.ZoneBounds()
	switch shown := onTheClock(t); {
	case shown.After(wanted):
		return start
	case shown.Before(wanted):
		return end
	case start.IsZero():
		return t
	}
	_, now := t.Zone()
	_, before := start.Add(-time.Nanosecond).Zone()
	if earlier := t.Add(time.Duration(now-before) * time.Second); before > now && earlier.Before(start) {
		return earlier
	}
	return t
}

// onTheClock is what a clock shows, as if it were in UTC.
func onTheClock(t time.Time) time.Time {
	year, month, day := t.Date()
	return time.Date(year, month, day, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}
