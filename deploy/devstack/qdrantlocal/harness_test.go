package qdrantlocal_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/qdrant/go-client/qdrant"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/tarento/copilot/deploy/devstack/qdrantlocal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client speaks to one server over an in-memory connection, as any gRPC client would.
type client struct {
	t           testing.TB
	points      qdrant.PointsClient
	collections qdrant.CollectionsClient
	health      qdrant.QdrantClient
	conn        *grpc.ClientConn
	server      *qdrantlocal.Server
}

func open(tb testing.TB, dir string, options ...qdrantlocal.Option) *qdrantlocal.Server {
	tb.Helper()
	options = append([]qdrantlocal.Option{qdrantlocal.WithLogger(slog.New(slog.DiscardHandler))}, options...)
	s, err := qdrantlocal.Open(dir, options...)
	if err != nil {
		tb.Fatalf("open: %v", err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return s
}

func serve(tb testing.TB, s *qdrantlocal.Server) *client {
	tb.Helper()
	g := grpc.NewServer(qdrantlocal.ServerOptions()...)
	s.Register(g)
	listener := bufconn.Listen(1 << 20)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = g.Serve(listener)
	}()
	conn, err := grpc.NewClient("passthrough:///local",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = conn.Close()
		g.Stop()
		<-done
	})
	return &client{
		t: tb, points: qdrant.NewPointsClient(conn), collections: qdrant.NewCollectionsClient(conn),
		health: qdrant.NewQdrantClient(conn), conn: conn, server: s,
	}
}

func start(tb testing.TB, options ...qdrantlocal.Option) *client {
	tb.Helper()
	return serve(tb, open(tb, tb.TempDir(), options...))
}

const collection = "things"

// collectionConfig has a cosine vector "dense" and a dot vector "raw" of the size, and sparse vectors with and without IDF.
func collectionConfig(name string, size uint64) *qdrant.CreateCollection {
	return &qdrant.CreateCollection{
		CollectionName: name,
		VectorsConfig: qdrant.NewVectorsConfigMap(map[string]*qdrant.VectorParams{
			"dense": {Size: size, Distance: qdrant.Distance_Cosine},
			"raw":   {Size: size, Distance: qdrant.Distance_Dot},
		}),
		SparseVectorsConfig: qdrant.NewSparseVectorsConfig(map[string]*qdrant.SparseVectorParams{
			"sparse": {},
			"words":  {Modifier: qdrant.Modifier_Idf.Enum()},
		}),
	}
}

func (c *client) create(size uint64) {
	c.t.Helper()
	if _, err := c.collections.Create(c.t.Context(), collectionConfig(collection, size)); err != nil {
		c.t.Fatalf("create: %v", err)
	}
}

func (c *client) index(field string, kind qdrant.FieldType) {
	c.t.Helper()
	_, err := c.points.CreateFieldIndex(c.t.Context(), &qdrant.CreateFieldIndexCollection{
		CollectionName: collection, FieldName: field, FieldType: kind.Enum(), Wait: new(true),
	})
	if err != nil {
		c.t.Fatalf("index %s: %v", field, err)
	}
}

// newPoint makes a point with a number for an id.
func newPoint(id uint64, vectors map[string]*qdrant.Vector, values map[string]any) *qdrant.PointStruct {
	return &qdrant.PointStruct{
		Id: qdrant.NewIDNum(id), Vectors: qdrant.NewVectorsMap(vectors), Payload: qdrant.NewValueMap(values),
	}
}

func dense(values ...float32) map[string]*qdrant.Vector { return named("dense", values...) }

func named(name string, values ...float32) map[string]*qdrant.Vector {
	return map[string]*qdrant.Vector{name: qdrant.NewVectorDense(values)}
}

func words(indices []uint32, values []float32) map[string]*qdrant.Vector {
	return map[string]*qdrant.Vector{"words": qdrant.NewVectorSparse(indices, values)}
}

func (c *client) upsert(points ...*qdrant.PointStruct) {
	c.t.Helper()
	_, err := c.points.Upsert(c.t.Context(), &qdrant.UpsertPoints{
		CollectionName: collection, Points: points, Wait: new(true),
	})
	if err != nil {
		c.t.Fatalf("upsert: %v", err)
	}
}

func (c *client) query(q *qdrant.QueryPoints) []*qdrant.ScoredPoint {
	c.t.Helper()
	q.CollectionName = collection
	resp, err := c.points.Query(c.t.Context(), q)
	if err != nil {
		c.t.Fatalf("query: %v", err)
	}
	return resp.GetResult()
}

func (c *client) count(filter *qdrant.Filter) int {
	c.t.Helper()
	resp, err := c.points.Count(c.t.Context(), &qdrant.CountPoints{CollectionName: collection, Filter: filter})
	if err != nil {
		c.t.Fatalf("count: %v", err)
	}
	return int(resp.GetResult().GetCount())
}

func must(conditions ...*qdrant.Condition) *qdrant.Filter { return &qdrant.Filter{Must: conditions} }

func numbers(points []*qdrant.ScoredPoint) []uint64 {
	out := make([]uint64, len(points))
	for i, p := range points {
		out[i] = p.GetId().GetNum()
	}
	return out
}

func wantCode(t *testing.T, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("code is %v, want %v: %v", got, want, err)
	}
}

// snapshotDir copies a folder as it stands on disk: what a crash at this moment would leave.
func snapshotDir(tb testing.TB, from string) string {
	tb.Helper()
	to := tb.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		tb.Fatal(err)
	}
	return to
}

func logFile(dir string) string { return filepath.Join(dir, "points.log") }
