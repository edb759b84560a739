// Package lifecycle starts, runs and stops what lives long, so that every program of this repository ends the same way.
//
// A program acquires resources one after the other and pushes the closer of each on a [Stack]; a start that fails half way
// unwinds what it has, and a program that ends closes in reverse order, within a grace period:
//
//	func open(ctx context.Context, cfg Config) (_ *App, err error) {
//		var app App
//		defer app.closers.CloseOnError(ctx, &err)
//		app.db, err = sql.Open(cfg.Driver, cfg.URL.Reveal())
//		if err != nil {
//			return nil, fmt.Errorf("open the database: %w", err)
//		}
//		app.closers.PushCloser("database", app.db)
//		...
//
// What works in the background is a [Service]: a function that runs until its context ends. [Run] runs several, and when
// the program is asked to end or one of them fails, it stops them in reverse order, each only after the one that was started
// after it has returned. So the servers that take work in go last in the list, what they rely on first.
//
// [Main] is what a main function consists of: it ties the context to SIGINT and SIGTERM, reports the error and returns the
// exit code. A second signal ends the process at once.
package lifecycle
