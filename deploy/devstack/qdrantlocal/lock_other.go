//go:build !unix

package qdrantlocal

import "os"

// lockFile opens the lock file without locking it: only Unix systems keep a second process out.
func lockFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
}
