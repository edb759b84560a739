package qdrantlocal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// What the health check answers. The version is that of the API it speaks, which clients compare with their own.
const (
	Title      = "qdrantlocal (local stand-in for Qdrant)"
	APIVersion = "1.17.0"
)

const (
	logName  = "points.log"
	lockName = "lock"

	// maxMessage is the largest request taken, in bytes.
	maxMessage = 64 << 20
)

// Server holds the collections of one folder. Open it, Register it on a gRPC server, and Close it after that server has
// stopped. It is safe for concurrent use.
type Server struct {
	logger  *slog.Logger
	journal *journal
	lock    *os.File
	health  *health.Server

	// write puts changes in order: what the log says first has been done first.
	write sync.Mutex
	// compactAt is the log size in bytes below which it is not worth rewriting. Guarded by write.
	compactAt, compactMin int64

	// mu guards the map; each collection guards itself.
	mu          sync.RWMutex
	collections map[string]*collection
	closed      bool
}

// Option changes how a Server works.
type Option func(*Server)

// WithLogger sends the few things worth telling (a torn tail, a rewrite of the log) to logger instead of slog.Default.
func WithLogger(logger *slog.Logger) Option {
	return func(s *Server) { s.logger = logger }
}

// WithCompactionAt sets the size of the log, in bytes, below which it is never rewritten. The default is 32 MiB.
func WithCompactionAt(size int64) Option {
	return func(s *Server) { s.compactMin = size }
}

// Open reads the folder, which is made if it does not exist, and locks it against other processes. It fails when
// another process has it, or when the log is damaged anywhere but at its end.
func Open(dir string, options ...Option) (*Server, error) {
	s := &Server{
		logger:      slog.Default(),
		health:      health.NewServer(),
		collections: make(map[string]*collection),
		compactMin:  32 << 20,
	}
	for _, option := range options {
		option(s)
	}
	s.compactAt = s.compactMin
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("qdrantlocal: create folder: %w", err)
	}
	lock, err := lockFile(filepath.Join(dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("qdrantlocal: %s is in use: %w", dir, err)
	}
	s.lock = lock
	s.journal, err = openJournal(filepath.Join(dir, logName), s.logger, s.replay)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("qdrantlocal: open %s: %w", dir, err), lock.Close())
	}
	return s, nil
}

// Close syncs and closes the log and gives the folder free. Changes that arrive later are refused with
// codes.Unavailable. Closing twice is harmless.
func (s *Server) Close() error {
	s.write.Lock()
	defer s.write.Unlock()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.health.Shutdown()
	return errors.Join(s.journal.close(), s.lock.Close())
}

// Register adds Qdrant's services, and the standard gRPC health service, to r. Give the gRPC server ServerOptions too.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	qdrant.RegisterQdrantServer(r, healthService{})
	qdrant.RegisterCollectionsServer(r, collectionsService{s: s})
	qdrant.RegisterPointsServer(r, pointsService{s: s})
	qdrant.RegisterSnapshotsServer(r, qdrant.UnimplementedSnapshotsServer{})
	healthpb.RegisterHealthServer(r, s.health)
}

// ServerOptions returns what a gRPC server needs so that Qdrant's client is at ease with it: room for large upserts, and
// patience with its frequent keepalive pings, for which a gRPC server in Go otherwise hangs up.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxSendMsgSize(maxMessage),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	}
}

type healthService struct {
	qdrant.UnimplementedQdrantServer
}

func (healthService) HealthCheck(context.Context, *qdrant.HealthCheckRequest) (*qdrant.HealthCheckReply, error) {
	return &qdrant.HealthCheckReply{Title: Title, Version: APIVersion}, nil
}

// collection finds a collection, or answers as Qdrant does.
func (s *Server) collection(name string) (*collection, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, errClosed()
	}
	c, ok := s.collections[name]
	if !ok {
		return nil, errNoCollection(name)
	}
	return c, nil
}

// change is one step of the log and what it does to memory. An empty change (record.kind zero) is not written.
type change struct {
	record record
	apply  func()
}

// commit plans a change while no other change is under way, writes it, applies it, and returns when it is on disk.
//
// Memory runs ahead of the disk by one sync: a search may see a change that has not been answered yet, and that a crash
// would take back. Nobody was told that it had happened.
func (s *Server) commit(plan func() (change, error)) error {
	seq, err := s.submit(plan)
	if err != nil || seq == 0 {
		return err
	}
	if err := s.journal.sync(seq); err != nil {
		return status.Errorf(codes.Internal, "qdrantlocal: sync the log: %v", err)
	}
	return nil
}

func (s *Server) submit(plan func() (change, error)) (seq uint64, err error) {
	s.write.Lock()
	defer s.write.Unlock()
	if s.isClosed() {
		return 0, errClosed()
	}
	ch, err := plan()
	if err != nil {
		return 0, err
	}
	if ch.record.kind == 0 {
		return 0, nil
	}
	seq, err = s.journal.append(ch.record)
	if err != nil {
		return 0, status.Errorf(codes.Internal, "qdrantlocal: write the log: %v", err)
	}
	ch.apply()
	s.compactIfDue()
	return seq, nil
}

func (s *Server) isClosed() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.closed
}

// checkCurrent reports whether c is still the collection of its name; the caller holds write. A collection may have been
// dropped while a change to it was being prepared.
func (s *Server) checkCurrent(c *collection) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.collections[c.name] != c {
		return errNoCollection(c.name)
	}
	return nil
}

func (s *Server) put(c *collection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.collections[c.name] = c
}

func (s *Server) drop(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.collections, name)
}
