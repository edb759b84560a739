package telemetry

import "runtime/debug"

// Version is the commit that the program was built from, in twelve digits, or "development".
func Version() string {
	const unknown = "development"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return unknown
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12]
		}
	}
	return unknown
}
