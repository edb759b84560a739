package e2e_test

import "syscall"

// endWithParent has the kernel kill the child when the test's process dies, however it dies.
func endWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
