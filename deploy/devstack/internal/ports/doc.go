// Package ports finds free TCP ports on the loopback interface and says clearly which wanted ones are taken.
package ports
