package vector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tarento/copilot/pkg/fault"
)

// classify turns what a call returned into a fault, or nil into nil. What the server said stays in the cause.
func classify(ctx context.Context, doing string, err error) error {
	if err == nil {
		return nil
	}
	if ended := ctx.Err(); errors.Is(ended, context.Canceled) {
		return fmt.Errorf("vector: %s: %w", doing, ended)
	}
	if limited, ok := errors.AsType[*qdrant.QdrantResourceExhaustedError](err); ok {
		return busy(doing, err).After(time.Duration(limited.RetryAfterS) * time.Second)
	}
	err = fmt.Errorf("vector: %s: %w", doing, err)
	switch status.Code(err) {
	case codes.Unavailable, codes.Aborted:
		return fault.Wrap(err, fault.Unavailable, "vector.unavailable", "The vector database cannot be reached. Try again.")
	case codes.Unauthenticated, codes.PermissionDenied:
		// The operator's to mend, and the work can go on as soon as that is done.
		return fault.Wrap(err, fault.Unavailable, "vector.credentials", "The vector database refuses our credentials.")
	case codes.DeadlineExceeded:
		return fault.Wrap(err, fault.Timeout, "vector.timeout", "The vector database took too long. Try again.")
	case codes.ResourceExhausted:
		return busy(doing, err)
	case codes.NotFound:
		return fault.Wrap(err, fault.NotFound, "vector.space-missing", "Nothing has been indexed for this embedding model yet.")
	case codes.InvalidArgument, codes.OutOfRange:
		return fault.Wrap(err, fault.Invalid, "vector.rejected", "The vector database rejected the request.")
	default:
		return fault.Wrap(err, fault.Internal, "vector.failed", "The vector database failed.")
	}
}

func busy(doing string, err error) *fault.Error {
	return fault.Wrap(fmt.Errorf("vector: %s: %w", doing, err), fault.RateLimited, "vector.busy", "The vector database is busy. Try again.")
}
