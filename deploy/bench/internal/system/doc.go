// Package system runs what is measured: it builds the programs, makes a migrated and seeded database, and starts the programs on it
// as processes of their own, with an explicit environment, on engines that somebody else started (devstack exec).
//
//	site, err := system.Prepare(ctx, engines, root)
//	defer site.Close(ctx)
//	running, err := site.Start(ctx, system.Gateway, system.EmbeddingWorker)
//	defer running.Stop()
//
// Each System has a database, a NATS namespace and a Qdrant prefix of its own, so nothing that one measurement leaves behind
// reaches the next.
package system
