package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"

	"github.com/tarento/copilot/pkg/fault"
)

// explain says what was being done and, where the database's answer has a meaning for callers, turns it into a fault. It is
// the one place that reads SQLSTATE codes (see the PostgreSQL manual, appendix A). explain(nil, ...) is nil.
func explain(err error, doing string) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("store: %s: %w", doing, err)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if refusal, ok := errors.AsType[*pgconn.PgError](err); ok {
		return classify(err, refusal)
	}
	if severed(err) {
		return unavailable(err)
	}
	return err
}

// severed reports whether there is no connection, or the one there was broke off: a server that is killed says nothing first.
func severed(err error) bool {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return true
	}
	return slices.ContainsFunc(
		[]error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, pgconn.ErrConnClosed, driver.ErrBadConn},
		func(sign error) bool { return errors.Is(err, sign) },
	)
}

func classify(err error, refusal *pgconn.PgError) error {
	switch refusal.Code {
	case "23505": // unique_violation
		code, message := taken(refusal.ConstraintName)
		return fault.Wrap(err, fault.Conflict, code, "%s", message)
	case "23503": // foreign_key_violation
		return fault.Wrap(err, fault.Invalid, "reference.unknown",
			"It refers to something that does not exist, or others still refer to it.")
	case "23514", "23502", "22001", "22003": // check, not null, too long, out of range
		return fault.Wrap(err, fault.Invalid, "value.not_allowed", "A value is outside of what its field allows.")
	case "22021", "22P05": // character_not_in_repertoire, untranslatable_character
		return fault.Wrap(err, fault.Invalid, "text.not_storable", "The text holds a character that cannot be stored, such as NUL.")
	case "40001", "40P01", "55P03": // serialization_failure, deadlock_detected, lock_not_available
		return fault.Wrap(err, fault.Unavailable, codeBusy, "Too many changes met at once. Try again.")
	}
	switch refusal.Code[:min(2, len(refusal.Code))] {
	case "08", "53", "57": // connection exception, insufficient resources, operator intervention
		return unavailable(err)
	default:
		return err
	}
}

// codeBusy is the code of a statement that gave up waiting for a lock.
const codeBusy = "database.busy"

func unavailable(err error) error {
	return fault.Wrap(err, fault.Unavailable, "database.unavailable", "The database cannot be reached right now. Try again.")
}

// taken names the conflict behind a unique constraint.
func taken(constraint string) (code, message string) {
	switch constraint {
	case "users_email_key":
		return "user.email_taken", "This email address cannot be used for an account."
	case "users_username_key":
		return "user.username_taken", "This username cannot be used for an account."
	case "organizations_domain_key":
		return "organization.domain_taken", "There is already an organization with this domain."
	case "roles_name_key":
		return "role.name_taken", "The organization already has a role of this name."
	case "permissions_name_key":
		return "permission.name_taken", "There is already a permission of this name."
	case "project_members_pkey":
		return "project.already_member", "The user is already a member of this project."
	case "role_permissions_pkey":
		return "role.already_granted", "The role already has this permission."
	case "jobs_one_ingest_key":
		return "document.busy", "The document is being indexed already."
	default:
		return "conflict", "It already exists."
	}
}

// take reads the one row that q finds; none is a fault.NotFound with the code "<noun>.not_found".
func take[T any](q *gorm.DB, noun string) (*T, error) {
	var row T
	err := q.Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return nil, notFound(noun)
	}
	if err != nil {
		return nil, explain(err, "read "+noun)
	}
	return &row, nil
}

// touched turns a change that met no row into a fault.NotFound.
func touched(changed *gorm.DB, doing, noun string) error {
	if changed.Error != nil {
		return explain(changed.Error, doing)
	}
	if changed.RowsAffected == 0 {
		return notFound(noun)
	}
	return nil
}

func notFound(noun string) error {
	return fault.New(fault.NotFound, noun+".not_found", "There is no such %s.", wordsOf(noun))
}
