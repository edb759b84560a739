package provider

import "time"

// Patiently lets Redis take its time: a test that is not about an outage must not see one because the machine is slow.
func (g *Gate) Patiently() *Gate {
	g.within = time.Minute
	return g
}
