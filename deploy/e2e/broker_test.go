package e2e_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/tarento/copilot/events"
)

// broker is a NATS server of the test's own, which may be destroyed.
type broker struct {
	t      *testing.T
	dir    string
	port   int
	server *natsserver.Server
}

func startBroker(t *testing.T) *broker {
	t.Helper()
	b := &broker{t: t, dir: t.TempDir(), port: freePort(t)}
	b.start()
	t.Cleanup(b.stop)
	return b
}

func (b *broker) url() string { return "nats://" + address(b.port) }

func (b *broker) start() {
	b.t.Helper()
	var err error
	b.server, err = natsserver.NewServer(&natsserver.Options{
		ServerName: "e2e", Host: "127.0.0.1", Port: b.port, JetStream: true, StoreDir: b.dir, NoSigs: true, NoLog: true,
	})
	if err != nil {
		b.t.Fatalf("start NATS: %v", err)
	}
	b.server.Start()
	if !b.server.ReadyForConnections(20 * time.Second) {
		b.t.Fatal("NATS takes no connections")
	}
}

func (b *broker) stop() {
	b.server.Shutdown()
	b.server.WaitForShutdown()
}

// loseStore ends the server, throws away everything it kept, and starts it again.
func (b *broker) loseStore() {
	b.t.Helper()
	b.stop()
	if err := os.RemoveAll(b.dir); err != nil {
		b.t.Fatal(err)
	}
	b.start()
}

func TestLosingTheBrokersStoreCostsTimeButNoJob(t *testing.T) {
	t.Parallel()
	nats := startBroker(t)
	s := newStack(t, setup{
		natsURL: nats.url(), without: []string{agentProgram},
		env: map[string]map[string]string{ingestProgram: {"WORKER_SLOTS": "1"}, embeddingProgram: {"WORKER_SLOTS": "4"}},
	})
	c := s.login(adminAcme)
	s.model.latency("3s")
	const embeddings, documents = 40, 10
	jobs := make([]job, 0, embeddings+documents)
	for i := range documents {
		jobs = append(jobs, c.upload(bigText(uint64(100+i), 20)))
	}
	for i := range embeddings {
		jobs = append(jobs, c.embed(fmt.Sprintf("The text number %d.", i)))
	}
	follower := c.follow(jobs[len(jobs)-1].ID)
	eventually(t, time.Minute, "some jobs are done and most are open", func() (bool, string) {
		open := s.db.count("SELECT count(*) FROM jobs WHERE finished_at IS NULL AND parent_id IS NULL")
		if open < len(jobs)/2 {
			t.Fatalf("only %d of %d jobs are open: they went too fast for this test", open, len(jobs))
		}
		return open < len(jobs), fmt.Sprintf("%d open", open)
	})
	nats.loseStore()
	s.model.latency("100ms")
	s.db.awaitAllEnded(time.Minute)

	for _, j := range jobs {
		if ended := c.job(j.ID); ended.Status != events.StatusSucceeded || ended.Attempt != 1 {
			t.Errorf("job %s (%s) ended as %s in attempt %d: %+v", ended.ID, ended.Kind, ended.Status, ended.Attempt, ended.Error)
		}
	}
	mustTell(t, follower.all(time.Minute))
	s.db.verify()
}
