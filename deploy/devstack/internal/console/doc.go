// Package console is what a person at the terminal sees of the local system: timed phases, the log lines of several programs
// side by side, and the last lines of a program that failed. Colors appear only on a terminal, and not when NO_COLOR is set.
package console
