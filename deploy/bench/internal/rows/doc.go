// Package rows fills a system's tables, so that it can be seen how lists behave in a large database: Load writes as many
// conversations, messages, documents and audit entries as one asks for, in the shape they have in production: several tenants, one
// of them with half of everything, 200 people, ids that grow with time, texts of some hundred bytes.
//
// It is a stranger to the system and writes past it, as the owner of the database; the tables must be those of the migrations,
// with the seeded users in them.
package rows
