package chaos

import "syscall"

// endWithParent has the kernel kill the child when this process dies, however it dies.
func endWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
