package launch

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// reachWithin is how long a server that a variable names may take to accept a connection.
const reachWithin = 3 * time.Second

// reach makes sure that somebody listens where a variable points, so that a wrong address is said at once and by its name, and not
// by a program that waits for it. The address may list several servers; one is enough. What is no URL with a host is left to
// the programs.
func reach(ctx context.Context, variable, address, port string) error {
	var tried []string
	for one := range strings.SplitSeq(address, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil || u.Hostname() == "" {
			return nil // such as a list of key=value pairs, or a socket's path
		}
		at := net.JoinHostPort(u.Hostname(), port)
		if u.Port() != "" {
			at = u.Host
		}
		dialing, cancel := context.WithTimeout(ctx, reachWithin)
		conn, err := (&net.Dialer{}).DialContext(dialing, "tcp", at)
		cancel()
		if err == nil {
			return conn.Close()
		}
		tried = append(tried, at)
	}
	return fmt.Errorf("%s names %s, where nothing can be reached: start it, correct the address, or unset %s to use ours",
		variable, strings.Join(tried, " and "), variable)
}
