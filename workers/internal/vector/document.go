package vector

import (
	"context"
	"strings"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"

	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/tenant"
)

// DeleteDocument removes the points of a document from every space, or those of the given indexings only, and returns when counts
// have shown that none is left. It is no error when there were none. What is stored at the same time may be left: then it fails
// as Unavailable, or the point comes after the count.
func (s *Store) DeleteDocument(ctx context.Context, t tenant.ID, document uuid.UUID, indexings ...uuid.UUID) error {
	filter, err := ofDocument(t, document, indexings)
	if err != nil {
		return err
	}
	return s.each(ctx, func(ctx context.Context, collection string) error {
		_, err := s.client.Points().Delete(ctx, &qdrant.DeletePoints{
			CollectionName: collection, Points: qdrant.NewPointsSelectorFilter(filter), Wait: new(true),
		})
		if err != nil {
			return classify(ctx, "delete document", err)
		}
		left, err := s.count(ctx, collection, filter)
		if err == nil && left > 0 {
			return fault.New(fault.Unavailable, "vector.not-gone", "%d vectors of the document are still there. Try again.", left)
		}
		return err
	})
}

// CountDocument returns how many points a document has in all spaces, exactly.
func (s *Store) CountDocument(ctx context.Context, t tenant.ID, document uuid.UUID) (int, error) {
	filter, err := ofDocument(t, document, nil)
	if err != nil {
		return 0, err
	}
	total := 0
	err = s.each(ctx, func(ctx context.Context, collection string) error {
		n, err := s.count(ctx, collection, filter)
		total += n
		return err
	})
	return total, err
}

// Label gives all points of a document, in every space, these labels instead of those they have, and returns when searches go by
// them.
func (s *Store) Label(ctx context.Context, t tenant.ID, document uuid.UUID, l Labels) error {
	filter, err := ofDocument(t, document, nil)
	if err != nil {
		return err
	}
	return s.each(ctx, func(ctx context.Context, collection string) error {
		_, err := s.client.Points().SetPayload(ctx, &qdrant.SetPayloadPoints{
			CollectionName: collection, Payload: l.payload(), PointsSelector: qdrant.NewPointsSelectorFilter(filter), Wait: new(true),
		})
		return classify(ctx, "label document", err)
	})
}

// Count returns how many points of the tenant the filter leaves in a space, exactly.
func (s *Store) Count(ctx context.Context, t tenant.ID, sp Space, f Filter) (int, error) {
	filter, err := within(t, f)
	if err != nil {
		return 0, err
	}
	name, err := s.collection(sp)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return s.count(ctx, name, filter)
}

func (s *Store) count(ctx context.Context, collection string, filter *qdrant.Filter) (int, error) {
	resp, err := s.client.Points().Count(ctx, &qdrant.CountPoints{CollectionName: collection, Filter: filter, Exact: new(true)})
	return int(resp.GetResult().GetCount()), classify(ctx, "count points", err)
}

// ofDocument refuses to mean all documents.
func ofDocument(t tenant.ID, document uuid.UUID, indexings []uuid.UUID) (*qdrant.Filter, error) {
	if document == uuid.Nil {
		return nil, fault.New(fault.Invalid, "vector.id", "A document is needed.")
	}
	return within(t, Filter{DocumentIDs: []uuid.UUID{document}, IndexingIDs: indexings})
}

// each calls do for every collection of this installation: a document may have points in those of earlier models, too. One that
// vanishes meanwhile holds nothing.
func (s *Store) each(ctx context.Context, do func(ctx context.Context, collection string) error) error {
	listing, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := s.client.Collections().List(listing, &qdrant.ListCollectionsRequest{})
	if err != nil {
		return classify(listing, "list collections", err)
	}
	for _, c := range resp.GetCollections() {
		if !strings.HasPrefix(c.GetName(), s.prefix+"_") {
			continue
		}
		doing, cancel := context.WithTimeout(ctx, callTimeout)
		err := do(doing, c.GetName())
		cancel()
		if err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
	}
	return nil
}
