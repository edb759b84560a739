package qdrantlocal

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
)

// The log is a magic number and then records:
//
//	length   uint32, little endian: of kind and body
//	checksum uint32, little endian: CRC-32C of kind and body
//	kind     one byte
//	body     a protobuf message of Qdrant's own API
const (
	magic       = "QDLOCAL1"
	frameHeader = 8
	// maxRecord bounds what a damaged length can make us allocate.
	maxRecord = 2 * maxMessage
)

// recordKind says which message a record's body is. The numbers are on disk.
type recordKind byte

const (
	recordCreate           recordKind = 1 // CreateCollection
	recordDrop             recordKind = 2 // DeleteCollection
	recordIndex            recordKind = 3 // CreateFieldIndexCollection
	recordUnindex          recordKind = 4 // DeleteFieldIndexCollection
	recordUpsert           recordKind = 5 // UpsertPoints
	recordDelete           recordKind = 6 // DeletePoints, by ids
	recordSetPayload       recordKind = 7 // SetPayloadPoints, by ids
	recordOverwritePayload recordKind = 8 // SetPayloadPoints, by ids
)

// record is one change. The zero record is none.
type record struct {
	kind recordKind
	body []byte
}

func (r record) size() int64 { return frameHeader + 1 + int64(len(r.body)) }

// errDamaged is returned when the log cannot be read although more of it follows.
var errDamaged = errors.New("the log is damaged")

// journal is the log on disk. append and rewrite are called in the order of the changes; sync by anyone.
type journal struct {
	path string

	// syncing lets one caller sync for all who wait behind it. It is taken before mu.
	syncing sync.Mutex
	synced  uint64

	mu       sync.Mutex
	file     *os.File
	buf      *bufio.Writer
	size     int64
	appended uint64
	// err is the first failure. What is on disk is unknown after one, so nothing is written any more.
	err error
}

// openJournal opens or makes the log and hands each record to replay in order.
func openJournal(path string, logger *slog.Logger, replay func(record) error) (*journal, error) {
	if err := os.Remove(path + ".new"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove an unfinished rewrite: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	size, err := recoverLog(f, logger, replay)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &journal{path: path, file: f, buf: newBuffer(f), size: size}, nil
}

func newBuffer(w io.Writer) *bufio.Writer { return bufio.NewWriterSize(w, 256<<10) }

// recoverLog replays f, cuts off a torn tail, and leaves f positioned at its end, whose offset it returns.
func recoverLog(f *os.File, logger *slog.Logger, replay func(record) error) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	total := info.Size()
	if total < int64(len(magic)) {
		// New, or the process died before its first bytes were written.
		return int64(len(magic)), startLog(f)
	}
	r := bufio.NewReaderSize(f, 1<<20)
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, err
	}
	if string(head) != magic {
		return 0, fmt.Errorf("%w: it does not start like one", errDamaged)
	}
	offset := int64(len(magic))
	for offset < total {
		rec, length, err := readRecord(r, total-offset)
		if err != nil {
			if !errors.Is(err, errTorn) {
				return 0, err
			}
			if intactAfter(f, offset+length, total) {
				return 0, fmt.Errorf("%w at byte %d, with intact records after it", errDamaged, offset)
			}
			logger.Warn("cut the torn end of the log off", "file", f.Name(), "at", offset, "bytes", total-offset)
			break
		}
		if err := replay(rec); err != nil {
			return 0, fmt.Errorf("replay the record at byte %d: %w", offset, err)
		}
		offset += rec.size()
	}
	if offset < total {
		if err := f.Truncate(offset); err != nil {
			return 0, fmt.Errorf("cut the torn end off: %w", err)
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
	}
	_, err = f.Seek(offset, io.SeekStart)
	return offset, err
}

func startLog(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte(magic), 0); err != nil {
		return err
	}
	if _, err := f.Seek(int64(len(magic)), io.SeekStart); err != nil {
		return err
	}
	return f.Sync()
}

// errTorn means that the bytes are no record.
var errTorn = errors.New("no whole record")

// readRecord reads one record of at most left bytes. With errTorn it also returns the length that the frame claimed.
func readRecord(r io.Reader, left int64) (rec record, length int64, err error) {
	if left < frameHeader {
		return record{}, left, errTorn
	}
	var head [frameHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return record{}, 0, err
	}
	n := int64(binary.LittleEndian.Uint32(head[:4]))
	length = frameHeader + n
	if n == 0 || n > maxRecord || length > left {
		return record{}, length, errTorn
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		return record{}, length, err
	}
	if crc32.Checksum(payload, crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(head[4:]) {
		return record{}, length, errTorn
	}
	return record{kind: recordKind(payload[0]), body: payload[1:]}, length, nil
}

// intactAfter reports whether a whole record starts at offset, which a torn tail never has after it.
func intactAfter(f *os.File, offset, total int64) bool {
	if offset >= total {
		return false
	}
	_, _, err := readRecord(io.NewSectionReader(f, offset, total-offset), total-offset)
	return err == nil
}

// append writes a record to the log's buffer and returns the number to sync up to.
func (j *journal) append(rec record) (uint64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return 0, j.err
	}
	if err := writeRecord(j.buf, rec); err != nil {
		j.err = err
		return 0, err
	}
	j.size += rec.size()
	j.appended++
	return j.appended, nil
}

func writeRecord(w io.Writer, rec record) error {
	if len(rec.body) >= maxRecord {
		return fmt.Errorf("a record of %d bytes is too large", len(rec.body))
	}
	var head [frameHeader + 1]byte
	head[frameHeader] = byte(rec.kind)
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(crc32.Checksum(head[frameHeader:], table), table, rec.body)
	binary.LittleEndian.PutUint32(head[:4], uint32(len(rec.body)+1))
	binary.LittleEndian.PutUint32(head[4:], sum)
	if _, err := w.Write(head[:]); err != nil {
		return err
	}
	_, err := w.Write(rec.body)
	return err
}

// sync returns when record seq is on disk. Whoever comes first syncs for all that have been appended by then; those who
// waited meanwhile find their record done.
func (j *journal) sync(seq uint64) error {
	j.syncing.Lock()
	defer j.syncing.Unlock()
	if j.synced >= seq {
		return nil
	}
	j.mu.Lock()
	if j.err == nil {
		j.err = j.buf.Flush()
	}
	file, appended, err := j.file, j.appended, j.err
	j.mu.Unlock()
	if err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		j.mu.Lock()
		j.err = err
		j.mu.Unlock()
		return err
	}
	j.synced = appended
	return nil
}

// bytes returns the size of the log.
func (j *journal) bytes() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.size
}

// rewrite replaces the log by the records that write emits, which must amount to everything appended so far. On failure
// the old log stays in use.
func (j *journal) rewrite(write func(emit func(record) error) error) (err error) {
	j.syncing.Lock()
	defer j.syncing.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return j.err
	}
	next := j.path + ".new"
	f, err := os.OpenFile(next, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(next))
		}
	}()
	buf := newBuffer(f)
	size := int64(len(magic))
	if _, err := buf.WriteString(magic); err != nil {
		return err
	}
	if err := write(func(rec record) error {
		size += rec.size()
		return writeRecord(buf, rec)
	}); err != nil {
		return err
	}
	if err := buf.Flush(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(next, j.path); err != nil {
		return err
	}
	old := j.file
	j.file, j.buf, j.size, j.synced = f, buf, size, j.appended
	// The old file has no name any more; whether it closes well says nothing about the new one. The folder's sync does:
	// without it a crash could bring the old log back, so that failure stops the journal.
	_ = old.Close()
	if dirErr := syncDir(filepath.Dir(j.path)); dirErr != nil {
		j.err = dirErr
	}
	return nil
}

// close syncs and closes the log.
func (j *journal) close() error {
	j.mu.Lock()
	last := j.appended
	j.mu.Unlock()
	err := j.sync(last)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err == nil {
		j.err = os.ErrClosed
	}
	return errors.Join(err, j.file.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
