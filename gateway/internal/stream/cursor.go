package stream

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// cursors writes positions in feeds as texts for clients, and reads them: sealed, so that nothing but what a gateway once gave out is
// read, for the tenant that it was given to.
type cursors struct {
	// The first key seals; all of them open.
	keys [][]byte
}

const (
	// cursorForm is the first byte, should the form ever change.
	cursorForm = 1
	// cursorLength is form, line, transaction, job, sequence number and time.
	cursorLength = 1 + 4 + 8 + 16 + 8 + 8
	// cursorSeal is how many bytes of the HMAC come before that.
	cursorSeal = 12
)

func (c cursors) write(t tenant.ID, p store.FeedPosition) string {
	raw := make([]byte, cursorSeal, cursorSeal+cursorLength)
	raw = append(raw, cursorForm)
	raw = binary.BigEndian.AppendUint32(raw, uint32(p.Line))
	raw = binary.BigEndian.AppendUint64(raw, uint64(p.XID))
	raw = append(raw, p.JobID[:]...)
	raw = binary.BigEndian.AppendUint64(raw, uint64(p.Seq))
	raw = binary.BigEndian.AppendUint64(raw, uint64(p.Time.UnixMilli()))
	copy(raw, seal(c.keys[0], t, raw[cursorSeal:]))
	return base64.RawURLEncoding.EncodeToString(raw)
}

// read returns fault.Invalid for what write has not written.
func (c cursors) read(t tenant.ID, text string) (p store.FeedPosition, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) != cursorSeal+cursorLength || !c.sealed(t, raw) || raw[cursorSeal] != cursorForm {
		return p, fault.New(fault.Invalid, "stream.cursor",
			"Last-Event-ID is not the id of an event of this feed. Leave it out, and say in since or from where to start.")
	}
	raw = raw[cursorSeal+1:]
	p.Line = int32(binary.BigEndian.Uint32(raw))
	p.XID = int64(binary.BigEndian.Uint64(raw[4:]))
	p.JobID = uuid.UUID(raw[12:28])
	p.Seq = int64(binary.BigEndian.Uint64(raw[28:]))
	p.Time = time.UnixMilli(int64(binary.BigEndian.Uint64(raw[36:]))).UTC()
	return p, nil
}

func (c cursors) sealed(t tenant.ID, raw []byte) bool {
	for _, key := range c.keys {
		if hmac.Equal(raw[:cursorSeal], seal(key, t, raw[cursorSeal:])) {
			return true
		}
	}
	return false
}

func seal(key []byte, t tenant.ID, payload []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("feed\x00" + t.String() + "\x00"))
	mac.Write(payload)
	return mac.Sum(nil)[:cursorSeal]
}
