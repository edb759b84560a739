//go:build !linux

package e2e_test

import "syscall"

// endWithParent does nothing: only Linux can tell a child that its parent died.
func endWithParent(*syscall.SysProcAttr) {}
