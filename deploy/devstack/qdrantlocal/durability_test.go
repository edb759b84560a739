package qdrantlocal_test

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"

	"github.com/tarento/copilot/deploy/devstack/qdrantlocal"
)

func TestWhatWasAnsweredSurvivesAnAbruptEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := serve(t, open(t, dir))
	ctx := t.Context()
	c.create(2)
	c.index("tenant", qdrant.FieldType_FieldTypeKeyword)
	c.index("gone", qdrant.FieldType_FieldTypeKeyword)
	for n := range uint64(6) {
		vectors := dense(1, float32(n))
		vectors["words"] = qdrant.NewVectorSparse([]uint32{uint32(n)}, []float32{1})
		c.upsert(newPoint(n, vectors, map[string]any{"tenant": "a"}))
	}
	steps := []func() error{
		func() error {
			_, err := c.points.Delete(ctx, &qdrant.DeletePoints{
				CollectionName: collection, Points: qdrant.NewPointsSelector(qdrant.NewIDNum(0)),
			})
			return err
		},
		func() error {
			_, err := c.points.SetPayload(ctx, &qdrant.SetPayloadPoints{
				CollectionName: collection, Payload: qdrant.NewValueMap(map[string]any{"tenant": "b"}),
				PointsSelector: qdrant.NewPointsSelector(qdrant.NewIDNum(1)),
			})
			return err
		},
		func() error {
			_, err := c.points.OverwritePayload(ctx, &qdrant.SetPayloadPoints{
				CollectionName: collection, Payload: nil, PointsSelector: qdrant.NewPointsSelector(qdrant.NewIDNum(2)),
			})
			return err
		},
		func() error {
			_, err := c.points.DeleteFieldIndex(ctx, &qdrant.DeleteFieldIndexCollection{CollectionName: collection, FieldName: "gone"})
			return err
		},
		func() error {
			_, err := c.collections.Create(ctx, collectionConfig("dropped", 2))
			return err
		},
		func() error {
			_, err := c.collections.Delete(ctx, &qdrant.DeleteCollection{CollectionName: "dropped"})
			return err
		},
	}
	for _, step := range steps {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	// The server is still open: nothing was flushed on the way out.
	after := serve(t, open(t, snapshotDir(t, dir)))
	for filter, want := range map[*qdrant.Filter]int{
		nil:                                  5,
		must(qdrant.NewMatch("tenant", "a")): 3,
		must(qdrant.NewMatch("tenant", "b")): 1,
		must(qdrant.NewIsEmpty("tenant")):    1,
	} {
		if got := after.count(filter); got != want {
			t.Errorf("%v counts %d, want %d", filter, got, want)
		}
	}
	found := after.query(&qdrant.QueryPoints{
		Query: qdrant.NewQuerySparse([]uint32{5}, []float32{1}), Using: new("words"),
	})
	if !slices.Equal(numbers(found), []uint64{5}) {
		t.Errorf("sparse search finds %v, want 5", numbers(found))
	}
	info, err := after.collections.Get(ctx, &qdrant.GetCollectionInfoRequest{CollectionName: collection})
	if err != nil {
		t.Fatal(err)
	}
	if schema := info.GetResult().GetPayloadSchema(); len(schema) != 1 || schema["tenant"] == nil {
		t.Errorf("payload schema is %v, want tenant only", schema)
	}
	list, err := after.collections.List(ctx, &qdrant.ListCollectionsRequest{})
	if err != nil || len(list.GetCollections()) != 1 {
		t.Errorf("list answers %v, %v", list, err)
	}
}

// fill stores n points of one tenth of a kilobyte, one change each, and closes the server.
func fill(t *testing.T, dir string, n uint64) {
	t.Helper()
	s := open(t, dir)
	c := serve(t, s)
	c.create(8)
	for i := range n {
		c.upsert(newPoint(i, dense(1, 2, 3, 4, 5, 6, 7, float32(i)), map[string]any{"n": int(i)}))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestATornTailIsCutAndTheRestKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fill(t, dir, 5)
	whole, err := os.ReadFile(logFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	last := len(whole) - lastRecord(t, whole)
	tests := []struct {
		name string
		log  []byte
		want int
	}{
		{"one byte short", whole[:len(whole)-1], 4},
		{"a header without a body", whole[:last+8], 4},
		{"half a header", whole[:last+3], 4},
		{"a body that was never written", append(slices.Clone(whole[:last+8]), make([]byte, len(whole)-last-8)...), 4},
		{"a tail of zeros", append(slices.Clone(whole), make([]byte, 4096)...), 5},
		{"a tail of nonsense", append(slices.Clone(whole), 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5), 5},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			torn := t.TempDir()
			if err := os.WriteFile(logFile(torn), test.log, 0o600); err != nil {
				t.Fatal(err)
			}
			s := open(t, torn)
			c := serve(t, s)
			if got := c.count(nil); got != test.want {
				t.Errorf("%d points are left, want %d", got, test.want)
			}
			// The log goes on after the cut.
			c.upsert(newPoint(99, dense(1, 2, 3, 4, 5, 6, 7, 8), nil))
			again := serve(t, open(t, snapshotDir(t, torn)))
			if got := again.count(nil); got != test.want+1 {
				t.Errorf("%d points after one more, want %d", got, test.want+1)
			}
		})
	}
}

// lastRecord returns the length of the log's last record by walking the frames.
func lastRecord(t *testing.T, log []byte) int {
	t.Helper()
	length := 0
	for at := 8; at < len(log); at += length {
		length = 8 + int(log[at]) + int(log[at+1])<<8 + int(log[at+2])<<16
	}
	return length
}

func TestDamageBeforeTheTailIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fill(t, dir, 5)
	log, err := os.ReadFile(logFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	damage := func(change func([]byte)) error {
		bad := slices.Clone(log)
		change(bad)
		damaged := t.TempDir()
		if err := os.WriteFile(logFile(damaged), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := qdrantlocal.Open(damaged)
		if err == nil {
			_ = s.Close()
		}
		return err
	}
	last := lastRecord(t, log)
	if err := damage(func(b []byte) { b[len(b)-last-10] ^= 1 }); err == nil {
		t.Error("a flipped bit in the last record but one was not noticed")
	}
	if err := damage(func(b []byte) { b[0] ^= 1 }); err == nil {
		t.Error("a file that is no log was not noticed")
	}
}

func TestTheLogIsRewrittenWhenMostOfItIsHistory(t *testing.T) {
	t.Parallel()
	const limit = 64 << 10
	dir := t.TempDir()
	c := serve(t, open(t, dir, qdrantlocal.WithCompactionAt(limit)))
	c.create(8)
	c.index("n", qdrant.FieldType_FieldTypeInteger)
	for round := range 400 {
		vectors := dense(1, 2, 3, 4, 5, 6, 7, float32(round))
		vectors["words"] = qdrant.NewVectorSparse([]uint32{7}, []float32{float32(round + 1)})
		var points []*qdrant.PointStruct
		for id := range uint64(10) {
			points = append(points, newPoint(id, vectors, map[string]any{"n": round}))
		}
		c.upsert(points...)
	}
	info, err := os.Stat(logFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 2*limit {
		t.Errorf("the log has %d bytes for ten points", info.Size())
	}
	after := serve(t, open(t, snapshotDir(t, dir)))
	if got := after.count(must(qdrant.NewMatchInt("n", 399))); got != 10 {
		t.Errorf("%d points have the last value, want 10", got)
	}
	found := after.query(&qdrant.QueryPoints{Query: qdrant.NewQuerySparse([]uint32{7}, []float32{1}), Using: new("words")})
	if len(found) != 10 {
		t.Errorf("sparse search finds %d points, want 10", len(found))
	}
}

func TestAnUnfinishedRewriteIsIgnored(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fill(t, dir, 3)
	if err := os.WriteFile(logFile(dir)+".new", []byte("QDLOCAL1 half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := serve(t, open(t, dir)).count(nil); got != 3 {
		t.Errorf("%d points, want 3", got)
	}
}

func TestAFolderHasOneServerAtATime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	if second, err := qdrantlocal.Open(dir); err == nil {
		_ = second.Close()
		t.Fatal("a second server opened the same folder")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

func TestAClosedServerRefusesEverything(t *testing.T) {
	t.Parallel()
	c := start(t)
	c.create(2)
	if err := c.server.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := c.points.Upsert(t.Context(), &qdrant.UpsertPoints{CollectionName: collection})
	wantCode(t, err, codes.Unavailable)
	_, err = c.points.Query(t.Context(), &qdrant.QueryPoints{CollectionName: collection})
	wantCode(t, err, codes.Unavailable)
	_, err = c.collections.Create(t.Context(), collectionConfig("x", 2))
	wantCode(t, err, codes.Unavailable)
}

func TestManyWritersAndReadersAtOnce(t *testing.T) {
	t.Parallel()
	const writers, each = 8, 40
	dir := t.TempDir()
	// The low limit makes rewrites of the log happen in the middle of it.
	c := serve(t, open(t, dir, qdrantlocal.WithCompactionAt(16<<10)))
	c.create(4)
	c.index("tenant", qdrant.FieldType_FieldTypeKeyword)
	ctx := t.Context()
	errs := make(chan error, 2*writers)
	var wg sync.WaitGroup
	for w := range writers {
		tenant := fmt.Sprint("t", w)
		wg.Go(func() {
			for i := range each {
				// Every second point is deleted again, and all are stored twice.
				id := uint64(w*each + i)
				points := []*qdrant.PointStruct{newPoint(id, dense(1, 2, 3, float32(i)), map[string]any{"tenant": tenant})}
				for range 2 {
					_, err := c.points.Upsert(ctx, &qdrant.UpsertPoints{CollectionName: collection, Points: points})
					if err != nil {
						errs <- err
						return
					}
				}
				if i%2 == 0 {
					continue
				}
				one := must(qdrant.NewMatch("tenant", tenant), qdrant.NewHasID(qdrant.NewIDNum(id)))
				_, err := c.points.Delete(ctx, &qdrant.DeletePoints{
					CollectionName: collection, Points: qdrant.NewPointsSelectorFilter(one),
				})
				if err != nil {
					errs <- err
					return
				}
			}
		})
		wg.Go(func() {
			for range each {
				resp, err := c.points.Query(ctx, &qdrant.QueryPoints{
					CollectionName: collection, Query: qdrant.NewQuery(1, 0, 0, 0), Using: new("dense"),
					Filter: must(qdrant.NewMatch("tenant", tenant)), Limit: new(uint64(100)),
					WithPayload: qdrant.NewWithPayload(true), WithVectors: qdrant.NewWithVectors(true),
				})
				if err != nil {
					errs <- err
					return
				}
				for _, p := range resp.GetResult() {
					if got := p.GetPayload()["tenant"].GetStringValue(); got != tenant {
						errs <- fmt.Errorf("tenant %s sees a point of %s", tenant, got)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	after := serve(t, open(t, snapshotDir(t, dir)))
	for _, server := range []*client{c, after} {
		if got, want := server.count(nil), writers*each/2; got != want {
			t.Errorf("%d points, want %d", got, want)
		}
	}
}
