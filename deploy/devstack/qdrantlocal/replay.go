package qdrantlocal

import (
	"fmt"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/protobuf/proto"
)

// batchBytes is how much a record of a rewritten log holds, in bytes, give or take a point.
const batchBytes = 1 << 20

// replay does to memory what a record says. It runs while the server is being opened, alone.
func (s *Server) replay(rec record) error {
	switch rec.kind {
	case recordCreate:
		return replayAs(rec, func(m *qdrant.CreateCollection) error {
			c, err := newCollection(m)
			if err == nil {
				s.put(c)
			}
			return err
		})
	case recordDrop:
		return replayAs(rec, func(m *qdrant.DeleteCollection) error {
			s.drop(m.GetCollectionName())
			return nil
		})
	case recordIndex:
		return replayOn(s, rec, func(c *collection, m *qdrant.CreateFieldIndexCollection) error {
			index, err := newFieldIndex(m)
			if err == nil {
				c.addIndex(index)
			}
			return err
		})
	case recordUnindex:
		return replayOn(s, rec, func(c *collection, m *qdrant.DeleteFieldIndexCollection) error {
			c.removeIndex(m.GetFieldName())
			return nil
		})
	case recordUpsert:
		return replayOn(s, rec, func(c *collection, m *qdrant.UpsertPoints) error {
			points, err := c.prepare(m.GetPoints())
			if err == nil {
				c.upsert(points)
			}
			return err
		})
	case recordDelete:
		return replayOn(s, rec, func(c *collection, m *qdrant.DeletePoints) error {
			ids, err := c.targets(m.GetPoints())
			if err == nil {
				c.remove(ids)
			}
			return err
		})
	case recordSetPayload, recordOverwritePayload:
		return replayOn(s, rec, func(c *collection, m *qdrant.SetPayloadPoints) error {
			ids, err := c.targets(m.GetPointsSelector())
			if err == nil {
				c.setPayload(ids, m.GetPayload(), rec.kind == recordOverwritePayload)
			}
			return err
		})
	default:
		return fmt.Errorf("%w: a record of unknown kind %d, written by a newer version", errDamaged, rec.kind)
	}
}

func replayAs[M any, P interface {
	*M
	proto.Message
}](rec record, do func(P) error) error {
	m := P(new(M))
	if err := proto.Unmarshal(rec.body, m); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	return do(m)
}

func replayOn[M any, P interface {
	*M
	proto.Message
	GetCollectionName() string
}](s *Server, rec record, do func(*collection, P) error) error {
	return replayAs(rec, func(m P) error {
		c, err := s.collection(m.GetCollectionName())
		if err != nil {
			return err
		}
		return do(c, m)
	})
}

// compactIfDue rewrites the log when it is large and most of it is history. The caller holds write, so changes wait.
func (s *Server) compactIfDue() {
	size := s.journal.bytes()
	if size < s.compactAt {
		return
	}
	var live int64
	s.mu.RLock()
	for _, c := range s.collections {
		live += c.bytes
	}
	s.mu.RUnlock()
	if size < 3*live {
		return
	}
	if err := s.journal.rewrite(s.snapshot); err != nil {
		// The old log is whole and goes on. Try again when it has grown by half.
		s.compactAt = size + size/2
		s.logger.Warn("could not rewrite the log", "error", err, "bytes", size)
		return
	}
	s.compactAt = s.compactMin
	s.logger.Debug("rewrote the log", "before", size, "after", s.journal.bytes())
}

// snapshot emits the records that make the present state. The caller holds write, so nothing changes meanwhile, and
// searches go on.
func (s *Server) snapshot(emit func(record) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, c := range s.collections {
		if err := c.snapshot(emit); err != nil {
			return fmt.Errorf("collection %s: %w", c.name, err)
		}
	}
	return nil
}

func (c *collection) snapshot(emit func(record) error) error {
	write := func(kind recordKind, m proto.Message) error {
		rec, err := encode(kind, m)
		if err != nil {
			return err
		}
		return emit(rec)
	}
	if err := write(recordCreate, c.config); err != nil {
		return err
	}
	for _, index := range c.indexes {
		if err := write(recordIndex, index.request); err != nil {
			return err
		}
	}
	batch := &qdrant.UpsertPoints{CollectionName: c.name}
	var size int64
	flush := func() error {
		if len(batch.GetPoints()) == 0 {
			return nil
		}
		err := write(recordUpsert, batch)
		batch.Points, size = nil, 0
		return err
	}
	for _, p := range c.bySlot {
		if p == nil {
			continue
		}
		batch.Points = append(batch.Points, c.export(p))
		if size += p.bytes; size >= batchBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// export turns a stored point back into an upsert. It shares memory with the collection.
func (c *collection) export(p *point) *qdrant.PointStruct {
	vectors := make(map[string]*qdrant.Vector)
	for name, f := range c.dense {
		if f.present(p.slot) {
			vectors[name] = qdrant.NewVectorDense(f.at(p.slot))
		}
	}
	for name, f := range c.sparse {
		if f.present(p.slot) {
			vectors[name] = qdrant.NewVectorSparse(f.vectors[p.slot].indices, f.vectors[p.slot].values)
		}
	}
	out := &qdrant.PointStruct{Id: p.id.proto(), Payload: p.payload}
	if len(vectors) > 0 {
		out.Vectors = qdrant.NewVectorsMap(vectors)
	}
	return out
}
