//go:build !linux

package chaos

import "syscall"

// endWithParent does nothing: only Linux can.
func endWithParent(*syscall.SysProcAttr) {}

// childrenOf knows of none: only Linux tells.
func childrenOf(int) []int { return nil }
