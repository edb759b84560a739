package system

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// Memory is what a process holds of the machine's memory, in bytes.
type Memory struct {
	// Resident is what it holds now (VmRSS).
	Resident int64 `json:"resident"`
	// Peak is the most it has held since its start or since ForgetPeak (VmHWM).
	Peak int64 `json:"peak"`
}

// Memory reads what a program of the system holds. It needs Linux's /proc.
func (s *System) Memory(program string) (Memory, error) {
	status, err := os.ReadFile(s.proc(program, "status"))
	if err != nil {
		return Memory{}, fmt.Errorf("read the memory of %s: %w", program, err)
	}
	m, err := parseMemory(status)
	if err != nil {
		return Memory{}, fmt.Errorf("read the memory of %s: %w", program, err)
	}
	return m, nil
}

// ForgetPeak makes Memory's Peak count from now on.
func (s *System) ForgetPeak(program string) error {
	const peak = "5" // see clear_refs in proc(5)
	file, err := os.OpenFile(s.proc(program, "clear_refs"), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("forget the peak of %s: %w", program, err)
	}
	_, err = file.WriteString(peak)
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return fmt.Errorf("forget the peak of %s: %w", program, err)
	}
	return nil
}

// AwaitQuiet returns when the programs have nearly stopped working: what they do once after their start is over. It needs Linux's
// /proc.
func (s *System) AwaitQuiet(ctx context.Context) error {
	const (
		look  = 500 * time.Millisecond
		quiet = look / 20 // a twentieth of a core
	)
	ctx, cancel := context.WithTimeoutCause(ctx, readyLimit, fmt.Errorf("the programs were not quiet within %s", readyLimit))
	defer cancel()
	tick := time.NewTicker(look)
	defer tick.Stop()
	before := -readyLimit // so that the first look never finds quiet
	for {
		now, err := s.processor()
		if err != nil {
			return err
		}
		if now-before < quiet {
			return nil
		}
		before = now
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// processor is the processor time that all programs have used.
func (s *System) processor() (sum time.Duration, err error) {
	for _, p := range s.processes {
		stat, err := os.ReadFile(s.proc(p.name, "stat"))
		if err != nil {
			return 0, fmt.Errorf("read the processor time of %s: %w", p.name, err)
		}
		used, err := parseProcessor(stat)
		if err != nil {
			return 0, fmt.Errorf("read the processor time of %s: %w", p.name, err)
		}
		sum += used
	}
	return sum, nil
}

// The fields of /proc/<pid>/stat that are read here, counted from 0 after the name; see proc(5).
const (
	statParent = 1  // the parent's process id
	statUsed   = 11 // user time, then system time
	statEnded  = 13 // the same of children that have ended
)

// parseProcessor reads the user and the system time of /proc/<pid>/stat.
func parseProcessor(stat []byte) (time.Duration, error) { return parseTimes(stat, statUsed) }

// parseEnded reads the times of a process's children that have ended.
func parseEnded(stat []byte) (time.Duration, error) { return parseTimes(stat, statEnded) }

// parseTimes reads two times that follow each other, in hundredths of a second.
func parseTimes(stat []byte, first int) (used time.Duration, err error) {
	const tick = time.Second / 100
	for field := first; field < first+2; field++ {
		n, err := parseField(stat, field)
		if err != nil {
			return 0, err
		}
		used += time.Duration(n) * tick
	}
	return used, nil
}

// parseParent reads the parent's process id.
func parseParent(stat []byte) (int, error) { return parseField(stat, statParent) }

// parseField reads a number after the name, which stands in parentheses and may hold anything.
func parseField(stat []byte, n int) (int, error) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= n {
		return 0, errors.New("there are too few fields")
	}
	value, err := strconv.Atoi(string(fields[n]))
	if err != nil {
		return 0, fmt.Errorf("a field is no number: %w", err)
	}
	return value, nil
}

// proc is the path of a file that the kernel keeps about a program. It does not exist when the program was not started.
func (s *System) proc(program, file string) string {
	pid := 0
	for _, p := range s.processes {
		if p.name == program {
			pid = p.cmd.Process.Pid
		}
	}
	return fmt.Sprintf("/proc/%d/%s", pid, file)
}

// parseMemory reads the lines of /proc/<pid>/status, such as "VmRSS:     1748 kB".
func parseMemory(status []byte) (m Memory, err error) {
	for name, value := range map[string]*int64{"VmRSS": &m.Resident, "VmHWM": &m.Peak} {
		_, rest, found := bytes.Cut(append([]byte("\n"), status...), []byte("\n"+name+":"))
		fields := bytes.Fields(rest)
		if !found || len(fields) < 2 || string(fields[1]) != "kB" {
			return Memory{}, fmt.Errorf("there is no %s", name)
		}
		if *value, err = strconv.ParseInt(string(fields[0]), 10, 64); err != nil {
			return Memory{}, fmt.Errorf("%s is no number: %w", name, err)
		}
		*value <<= 10
	}
	return m, nil
}
