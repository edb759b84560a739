// Package process runs other programs as children that never outlive their launcher.
//
// Every child leads a process group of its own, so that a Ctrl-C at the terminal reaches only the launcher, which then
// ends its children in its own order, and so that whatever a child started ends with it. On Linux the kernel also signals
// the child when the launcher dies without having had the time to. A child's environment is exactly what its Spec says.
package process
