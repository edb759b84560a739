package vector

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/secret"
	"github.com/tarento/copilot/pkg/tenant"
)

func isNoTenant(err error) bool  { return errors.Is(err, tenant.ErrNone) }
func isCancelled(err error) bool { return errors.Is(err, context.Canceled) }

func TestOpenReadsTheURL(t *testing.T) {
	t.Parallel()
	good := map[string]qdrant.Config{
		"http://qdrant:6334":             {Host: "qdrant", Port: 6334},
		"grpc://10.0.0.1:7000":           {Host: "10.0.0.1", Port: 7000},
		"http://qdrant":                  {Host: "qdrant", Port: 6334},
		"https://x.cloud.qdrant.io:6334": {Host: "x.cloud.qdrant.io", Port: 6334, UseTLS: true},
		"grpcs://x.cloud.qdrant.io":      {Host: "x.cloud.qdrant.io", Port: 6334, UseTLS: true},
		"http://[::1]:6334/":             {Host: "[::1]", Port: 6334},
	}
	for raw, want := range good {
		got, err := parseURL(raw)
		if err != nil || got.Host != want.Host || got.Port != want.Port || got.UseTLS != want.UseTLS {
			t.Errorf("%s gives %+v, %v", raw, got, err)
		}
	}
	for _, raw := range []string{
		"", "qdrant:6334", "redis://qdrant", "http://", "http://qdrant:99999", "http://:6334", "http://me:hunter2@qdrant:6334",
		"http://hunter2\x7f",
	} {
		_, err := Open(t.Context(), Config{URL: raw})
		if err == nil {
			t.Errorf("%q was taken", raw)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error repeats a secret: %v", err)
		}
	}
	if _, err := Open(t.Context(), Config{URL: "http://qdrant", Prefix: "Not/Good"}); err == nil {
		t.Error("a prefix that collection names cannot hold was taken")
	}
}

func TestAServerThatIsAwayIsUnavailable(t *testing.T) {
	t.Parallel()
	// A port that was free a moment ago.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	store, err := Open(t.Context(), Config{URL: "http://" + address, APIKey: secret.New("hunter2")})
	if err != nil {
		t.Fatalf("open waits for the server: %v", err)
	}
	defer func() { _ = store.Close() }()
	err = store.Ready(t.Context())
	expectFault(t, err, fault.Unavailable, "vector.unavailable")
	if err != nil && strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error repeats the key: %v", err)
	}
	if f := fault.Of(err); strings.Contains(f.Message, address) {
		t.Errorf("the message shows an address: %s", f.Message)
	}
}

func TestFailuresBecomeFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		code codes.Code
		kind fault.Kind
	}{
		{codes.Unavailable, fault.Unavailable},
		{codes.Aborted, fault.Unavailable},
		{codes.Unauthenticated, fault.Unavailable},
		{codes.PermissionDenied, fault.Unavailable},
		{codes.DeadlineExceeded, fault.Timeout},
		{codes.ResourceExhausted, fault.RateLimited},
		{codes.NotFound, fault.NotFound},
		{codes.InvalidArgument, fault.Invalid},
		{codes.Unimplemented, fault.Internal},
		{codes.Internal, fault.Internal},
		{codes.Unknown, fault.Internal},
	}
	for _, test := range tests {
		err := classify(t.Context(), "try", fmt.Errorf("wrapped: %w", status.Error(test.code, "upstream detail")))
		f := fault.Of(err)
		if f.Kind != test.kind {
			t.Errorf("%v becomes %v, want %v", test.code, f.Kind, test.kind)
		}
		if strings.Contains(f.Message, "upstream") || !strings.Contains(err.Error(), "upstream detail") {
			t.Errorf("%v: the detail belongs in the cause only: %v", test.code, err)
		}
	}
	if err := classify(t.Context(), "try", nil); err != nil {
		t.Errorf("nil becomes %v", err)
	}
	limited := classify(t.Context(), "try", &qdrant.QdrantResourceExhaustedError{Reason: "slow down", RetryAfterS: 7})
	if f := fault.Of(limited); f.Kind != fault.RateLimited || f.RetryAfter != 7*time.Second {
		t.Errorf("a rate limit becomes %v after %v", f, f.RetryAfter)
	}
}

func TestCollectionNamesTellSpacesApart(t *testing.T) {
	t.Parallel()
	s := &Store{prefix: "copilot"}
	got, err := s.collection(Space{Model: "gemini-embedding-001", Dimension: 768})
	if want := "copilot_gemini-embedding-001_768"; err != nil || got != want {
		t.Errorf("name is %q, %v; want %q", got, err, want)
	}
	seen := map[string]Space{}
	for _, sp := range []Space{
		{"a", 1}, {"a", 2}, {"A", 1}, {"a/b", 1}, {"a b", 1}, {"a-b", 1}, {strings.Repeat("x", 300), 1}, {strings.Repeat("x", 301), 1},
	} {
		name, err := s.collection(sp)
		if err != nil {
			t.Fatal(err)
		}
		if other, taken := seen[name]; taken {
			t.Errorf("%v and %v share %s", sp, other, name)
		}
		seen[name] = sp
		if len(name) > 255 || strings.ContainsAny(name, "/ ") {
			t.Errorf("%s is no collection name", name)
		}
	}
	for _, sp := range []Space{{}, {Model: "a"}, {Dimension: 3}, {"a", -1}, {"a", MaxDimension + 1}} {
		if _, err := s.collection(sp); !fault.Is(err, fault.Invalid) {
			t.Errorf("%v was taken: %v", sp, err)
		}
	}
}

func TestPointIDsDependOnEveryPart(t *testing.T) {
	t.Parallel()
	a := tenant.FromUUID(uuid.MustParse("018f0000-0000-7000-8000-00000000000a"))
	b := tenant.FromUUID(uuid.MustParse("018f0000-0000-7000-8000-00000000000b"))
	document := uuid.MustParse("018f0000-0000-7000-8000-0000000000d0")
	id := PointID(a, document, 7)
	if id.Version() != 5 {
		t.Errorf("version is %d, want 5", id.Version())
	}
	// Stored points are found by this value. If it changes, they are not.
	if want := "79c296b5-208b-58a3-b10e-7e6a620df2dd"; id.String() != want {
		t.Errorf("id is %s, want %s", id, want)
	}
	for name, other := range map[string]uuid.UUID{
		"tenant": PointID(b, document, 7), "document": PointID(a, a.UUID(), 7), "chunk": PointID(a, document, 8),
	} {
		if other == id {
			t.Errorf("another %s gives the same id", name)
		}
	}
}

func TestEveryFilterStartsWithTheTenant(t *testing.T) {
	t.Parallel()
	id := tenant.FromUUID(uuid.New())
	for _, f := range []Filter{
		{},
		{DocumentIDs: []uuid.UUID{uuid.New()}, Tags: []string{"x"}},
		{IndexingIDs: []uuid.UUID{uuid.New(), uuid.Nil}},
		{Visible: &Visibility{Projects: []uuid.UUID{uuid.New()}}},
	} {
		got, err := within(id, f)
		if err != nil {
			t.Fatal(err)
		}
		first := got.GetMust()[0].GetField()
		if first.GetKey() != fieldTenant || first.GetMatch().GetKeyword() != id.String() {
			t.Errorf("%+v starts with %v", f, first)
		}
		if len(got.GetShould()) > 0 {
			t.Errorf("%+v has alternatives beside the tenant: %v", f, got)
		}
		req, err := Query{Dense: []float32{1}, Sparse: EncodeQuery("word"), Filter: f}.encode(Space{"m", 1}, got)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range req.GetPrefetch() {
			if p.GetFilter() != got {
				t.Errorf("a prefetch searches without the filter: %v", p)
			}
		}
		if len(req.GetPrefetch()) != 2 || req.GetFilter() != got {
			t.Errorf("request is %v", req)
		}
	}
	if _, err := within(tenant.ID{}, Filter{}); !isNoTenant(err) {
		t.Errorf("no tenant gives %v", err)
	}
}

func TestBatchesAreCutBySize(t *testing.T) {
	t.Parallel()
	point := func(floats int) *qdrant.PointStruct {
		return &qdrant.PointStruct{Vectors: qdrant.NewVectors(make([]float32, floats)...)}
	}
	half := batchBytes / 8
	tests := []struct {
		name   string
		points []*qdrant.PointStruct
		want   int
	}{
		{"few small ones go together", []*qdrant.PointStruct{point(10), point(10), point(10)}, 3},
		{"what does not fit waits", []*qdrant.PointStruct{point(half), point(half - 100), point(half)}, 2},
		{"two halves and a little do not fit together", []*qdrant.PointStruct{point(half), point(half)}, 1},
		{"one that is too large goes alone", []*qdrant.PointStruct{point(5 * half), point(1)}, 1},
	}
	for _, test := range tests {
		if got := batch(test.points); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}
