package qdrantlocal

import (
	"bytes"
	"cmp"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
)

// pointID is a point's id in a form that can be compared and used as a key.
type pointID struct {
	uuid   uuid.UUID
	num    uint64
	isUUID bool
}

func parsePointID(id *qdrant.PointId) (pointID, error) {
	switch v := id.GetPointIdOptions().(type) {
	case *qdrant.PointId_Num:
		return pointID{num: v.Num}, nil
	case *qdrant.PointId_Uuid:
		u, err := uuid.Parse(v.Uuid)
		if err != nil {
			return pointID{}, errInput("Unable to parse UUID: %s", v.Uuid)
		}
		return pointID{uuid: u, isUUID: true}, nil
	default:
		return pointID{}, errInput("No ID options provided")
	}
}

func parsePointIDs(ids []*qdrant.PointId) ([]pointID, error) {
	out := make([]pointID, len(ids))
	for i, id := range ids {
		parsed, err := parsePointID(id)
		if err != nil {
			return nil, err
		}
		out[i] = parsed
	}
	return out, nil
}

func (p pointID) proto() *qdrant.PointId {
	if p.isUUID {
		return qdrant.NewIDUUID(p.uuid.String())
	}
	return qdrant.NewIDNum(p.num)
}

// compare orders numbers before UUIDs, which is the order Qdrant scrolls in.
func (p pointID) compare(q pointID) int {
	switch {
	case p.isUUID && q.isUUID:
		return bytes.Compare(p.uuid[:], q.uuid[:])
	case p.isUUID:
		return 1
	case q.isUUID:
		return -1
	default:
		return cmp.Compare(p.num, q.num)
	}
}
