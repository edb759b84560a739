package qdrantlocal

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The answers that clients match on carry Qdrant's own wording.

func errNoCollection(name string) error {
	return status.Errorf(codes.NotFound, "Not found: Collection `%s` doesn't exist!", name)
}

func errCollectionExists(name string) error {
	return status.Errorf(codes.AlreadyExists, "Wrong input: Collection `%s` already exists!", name)
}

func errNoVector(name string) error {
	return status.Errorf(codes.InvalidArgument, "Wrong input: Not existing vector name error: %s", name)
}

func errDimension(want, got int) error {
	return status.Errorf(codes.InvalidArgument, "Wrong input: Vector dimension error: expected dim: %d, got %d", want, got)
}

func errInput(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, "Wrong input: "+format, args...)
}

// errLacks refuses what a real Qdrant would do and this package does not.
func errLacks(feature string) error {
	return status.Errorf(codes.Unimplemented, "qdrantlocal does not support %s; a real Qdrant server does", feature)
}

func errClosed() error {
	return status.Error(codes.Unavailable, "qdrantlocal is closed")
}
