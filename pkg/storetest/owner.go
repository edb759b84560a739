package storetest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
)

// PlainOwner hands a database of NewEmpty over to a role that is no superuser, as the owner of an installation is, and returns
// that role's URL. OwnerURL goes on to see everything. The role ends with tb, and so does all that it made.
func (db *DB) PlainOwner(tb testing.TB) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	database, owner, err := db.makeOwner(ctx, os.Getenv(EnvURL))
	if owner != "" {
		tb.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), patience)
			defer cancel()
			if err := dropOwner(ctx, db.OwnerURL, database, owner); err != nil {
				tb.Errorf("storetest: drop the plain owner: %v", err)
			}
		})
	}
	if err != nil {
		tb.Fatalf("storetest: make a plain owner: %v", err)
	}
	u, err := url.Parse(db.OwnerURL)
	if err != nil {
		tb.Fatalf("storetest: read the owner's URL: %v", err)
	}
	return (&server{base: u}).urlOf(database, owner)
}

// makeOwner returns the names of the database and of its new owner; the latter is empty when there is none to drop.
func (db *DB) makeOwner(ctx context.Context, base string) (database, owner string, err error) {
	u, err := url.Parse(db.OwnerURL)
	if err != nil {
		return "", "", err
	}
	database = strings.TrimPrefix(u.Path, "/")
	srv, err := connect(ctx, base)
	if err != nil {
		return "", "", err
	}
	defer srv.close(ctx)
	// Once a template exists, so do the roles that migrations make, and it is known who made them.
	if _, err := srv.ensureTemplate(ctx, migrated); err != nil {
		return "", "", err
	}
	name := database + "_owner"
	if err := srv.exec(ctx, "CREATE ROLE %s CREATEROLE", name); err != nil {
		return "", "", err
	}
	if err := srv.exec(ctx, "ALTER DATABASE %s OWNER TO %s", database, name); err != nil {
		return "", name, err
	}
	// Since version 16 the right to make roles is none over the roles that others made.
	if srv.version() >= 16 {
		err = srv.exec(ctx, "GRANT copilot_auth, copilot_search TO %s WITH ADMIN TRUE, INHERIT FALSE, SET FALSE", name)
	}
	return database, name, err
}

// version is the server's major version.
func (s *server) version() (major int) {
	_, _ = fmt.Sscan(s.conn.PgConn().ParameterStatus("server_version"), &major)
	return major
}

func dropOwner(ctx context.Context, address, database, owner string) error {
	srv, err := connect(ctx, address)
	if err != nil {
		return err
	}
	defer srv.close(ctx)
	if err := srv.exec(ctx, "ALTER DATABASE %s OWNER TO CURRENT_USER", database); err != nil {
		return err
	}
	if err := srv.exec(ctx, "DROP OWNED BY %s CASCADE", owner); err != nil {
		return err
	}
	return srv.exec(ctx, "DROP ROLE %s", owner)
}
