package system

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
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

func (s *System) proc(program, file string) string {
	return fmt.Sprintf("/proc/%d/%s", s.pid(program), file)
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
