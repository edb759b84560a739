package store

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// uuidCodec moves ids between the wire and uuid.UUID as the sixteen bytes that both are. By itself pgx would go through their text.
type uuidCodec struct{ pgtype.UUIDCodec }

// registerUUID has a new connection move ids so.
func registerUUID(_ context.Context, conn *pgx.Conn) error {
	types := conn.TypeMap()
	id := &pgtype.Type{Name: "uuid", OID: pgtype.UUIDOID, Codec: uuidCodec{}}
	types.RegisterType(id)
	types.RegisterType(&pgtype.Type{Name: "_uuid", OID: pgtype.UUIDArrayOID, Codec: &pgtype.ArrayCodec{ElementType: id}})
	return nil
}

// PlanEncode implements pgtype.Codec.
func (c uuidCodec) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if format == pgtype.BinaryFormatCode {
		switch value.(type) {
		case uuid.UUID, *uuid.UUID:
			return encodeUUID{}
		}
	}
	return c.UUIDCodec.PlanEncode(m, oid, format, value)
}

// PlanScan implements pgtype.Codec.
func (c uuidCodec) PlanScan(m *pgtype.Map, oid uint32, format int16, target any) pgtype.ScanPlan {
	if _, ok := target.(*uuid.UUID); ok && format == pgtype.BinaryFormatCode {
		return scanUUID{}
	}
	return c.UUIDCodec.PlanScan(m, oid, format, target)
}

type encodeUUID struct{}

// Encode implements pgtype.EncodePlan. A nil pointer is null.
func (encodeUUID) Encode(value any, buf []byte) ([]byte, error) {
	switch id := value.(type) {
	case uuid.UUID:
		return append(buf, id[:]...), nil
	case *uuid.UUID:
		if id == nil {
			return nil, nil
		}
		return append(buf, id[:]...), nil
	default:
		return nil, fmt.Errorf("store: encode %T as an id", value)
	}
}

type scanUUID struct{}

// Scan implements pgtype.ScanPlan. Null is the nil id.
func (scanUUID) Scan(src []byte, target any) error {
	id, ok := target.(*uuid.UUID)
	if !ok || src != nil && len(src) != len(id) {
		return fmt.Errorf("store: read %d bytes as an id into %T", len(src), target)
	}
	*id = uuid.Nil
	copy(id[:], src)
	return nil
}

// leastID is, in SQL, the least UUIDv7 (RFC 9562) of the moment that lies an interval back by the database's clock.
func leastID(ago string) string {
	return "(lpad(to_hex((extract(epoch FROM now() - " + ago + ") * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid"
}
