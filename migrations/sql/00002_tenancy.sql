-- Who there is: organizations (the tenants), their people, what those may do, and the projects they share.
--
-- Every tenant table carries organization_id, and has UNIQUE (organization_id, id) so that a foreign key can name both:
-- a row can then never point into another tenant. That index also serves every list of one tenant in id order.
-- No foreign key cascades from organizations: removing a tenant is a deliberate piece of work, not a side effect.

-- +goose Up
CREATE TABLE organizations (
    id                       uuid PRIMARY KEY,
    name                     text        NOT NULL CHECK (name <> ''),
    domain                   text CHECK (domain <> ''),
    description              text        NOT NULL DEFAULT '',
    logo_url                 text        NOT NULL DEFAULT '',
    subscription_plan        text        NOT NULL DEFAULT 'starter'
        CHECK (subscription_plan IN ('starter', 'professional', 'enterprise')),
    settings                 jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(settings) = 'object'),
    org_metadata             jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(org_metadata) = 'object'),
    allows_self_registration boolean     NOT NULL DEFAULT false,
    is_active                boolean     NOT NULL DEFAULT true,
    created_at               timestamptz NOT NULL DEFAULT now(),
    updated_at               timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX organizations_name_idx ON organizations (name);
CREATE UNIQUE INDEX organizations_domain_key ON organizations (lower(domain));
CREATE INDEX organizations_is_active_idx ON organizations (is_active);

CREATE TABLE permissions (
    id              uuid PRIMARY KEY     DEFAULT gen_random_uuid(),
    organization_id uuid REFERENCES organizations (id),
    name            text        NOT NULL,
    resource        text        NOT NULL CHECK (resource <> ''),
    action          text        NOT NULL CHECK (action <> ''),
    description     text        NOT NULL DEFAULT '',
    is_system       boolean     NOT NULL DEFAULT false,
    perm_metadata   jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(perm_metadata) = 'object'),
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT permissions_name_key UNIQUE NULLS NOT DISTINCT (organization_id, name),
    CONSTRAINT permissions_name_check CHECK (name = resource || ':' || action),
    -- What ships with the service belongs to nobody, and what belongs to an organization did not ship.
    CONSTRAINT permissions_system_check CHECK (is_system = (organization_id IS NULL))
);
CREATE INDEX permissions_resource_action_idx ON permissions (resource, action);

CREATE TABLE roles (
    id              uuid PRIMARY KEY,
    organization_id uuid        NOT NULL REFERENCES organizations (id),
    name            text        NOT NULL CHECK (name <> ''),
    description     text        NOT NULL DEFAULT '',
    is_system       boolean     NOT NULL DEFAULT false,
    role_metadata   jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(role_metadata) = 'object'),
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT roles_organization_id_id_key UNIQUE (organization_id, id),
    CONSTRAINT roles_name_key UNIQUE (organization_id, name)
);

CREATE TABLE role_permissions (
    organization_id uuid        NOT NULL,
    role_id         uuid        NOT NULL,
    permission_id   uuid        NOT NULL REFERENCES permissions (id) ON DELETE CASCADE,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (role_id, permission_id),
    FOREIGN KEY (organization_id, role_id) REFERENCES roles (organization_id, id) ON DELETE CASCADE
);
CREATE INDEX role_permissions_permission_id_idx ON role_permissions (permission_id);

CREATE TABLE users (
    id                 uuid PRIMARY KEY,
    organization_id    uuid        NOT NULL REFERENCES organizations (id),
    role_id            uuid,
    -- An address has an @ and a username has none, so that one login field can take either without ambiguity.
    email              text        NOT NULL CHECK (position('@' IN email) > 1),
    username           text        NOT NULL CHECK (username <> '' AND position('@' IN username) = 0),
    password_hash      text        NOT NULL,
    full_name          text        NOT NULL DEFAULT '',
    avatar_url         text        NOT NULL DEFAULT '',
    bio                text        NOT NULL DEFAULT '',
    is_active          boolean     NOT NULL DEFAULT true,
    is_verified        boolean     NOT NULL DEFAULT false,
    is_superuser       boolean     NOT NULL DEFAULT false,
    email_verified     boolean     NOT NULL DEFAULT false,
    two_factor_enabled boolean     NOT NULL DEFAULT false,
    last_login         timestamptz,
    last_activity      timestamptz,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT users_organization_id_id_key UNIQUE (organization_id, id),
    FOREIGN KEY (organization_id, role_id) REFERENCES roles (organization_id, id)
);
CREATE UNIQUE INDEX users_email_key ON users (lower(email));
CREATE UNIQUE INDEX users_username_key ON users (lower(username));
CREATE INDEX users_role_id_idx ON users (role_id);
CREATE INDEX users_is_active_idx ON users (organization_id, is_active);

CREATE TABLE projects (
    id              uuid PRIMARY KEY,
    organization_id uuid        NOT NULL REFERENCES organizations (id),
    created_by      uuid,
    name            text        NOT NULL CHECK (name <> ''),
    description     text        NOT NULL DEFAULT '',
    settings        jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(settings) = 'object'),
    proj_metadata   jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(proj_metadata) = 'object'),
    is_active       boolean     NOT NULL DEFAULT true,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT projects_organization_id_id_key UNIQUE (organization_id, id),
    FOREIGN KEY (organization_id, created_by) REFERENCES users (organization_id, id) ON DELETE SET NULL (created_by)
);
CREATE INDEX projects_created_by_idx ON projects (created_by);
CREATE INDEX projects_is_active_idx ON projects (organization_id, is_active);

CREATE TABLE project_members (
    organization_id uuid        NOT NULL,
    project_id      uuid        NOT NULL,
    user_id         uuid        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, user_id),
    FOREIGN KEY (organization_id, project_id) REFERENCES projects (organization_id, id) ON DELETE CASCADE,
    FOREIGN KEY (organization_id, user_id) REFERENCES users (organization_id, id) ON DELETE CASCADE
);
CREATE INDEX project_members_user_id_idx ON project_members (user_id);

-- A family is one login: every refresh replaces its newest token. Only hashes are stored. One revoked row revokes the
-- whole family, so that a successor made in the same instant cannot outlive it.
CREATE TABLE refresh_tokens (
    id              uuid PRIMARY KEY,
    organization_id uuid        NOT NULL,
    user_id         uuid        NOT NULL,
    family_id       uuid        NOT NULL,
    token_hash      bytea       NOT NULL,
    expires_at      timestamptz NOT NULL,
    used_at         timestamptz,
    replaced_by     uuid,
    revoked_at      timestamptz,
    revoked_reason  text        NOT NULL DEFAULT '',
    user_agent      text        NOT NULL DEFAULT '',
    ip              text        NOT NULL DEFAULT '',
    created_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT refresh_tokens_token_hash_key UNIQUE (token_hash),
    FOREIGN KEY (organization_id, user_id) REFERENCES users (organization_id, id) ON DELETE CASCADE,
    CONSTRAINT refresh_tokens_replaced_check CHECK ((used_at IS NULL) = (replaced_by IS NULL))
);
CREATE INDEX refresh_tokens_family_id_idx ON refresh_tokens (family_id);
CREATE INDEX refresh_tokens_revoked_family_idx ON refresh_tokens (family_id) WHERE revoked_at IS NOT NULL;
CREATE INDEX refresh_tokens_user_id_idx ON refresh_tokens (user_id);
CREATE INDEX refresh_tokens_expires_at_idx ON refresh_tokens (expires_at);

-- +goose Down
DROP TABLE refresh_tokens;
DROP TABLE project_members;
DROP TABLE projects;
DROP TABLE users;
DROP TABLE role_permissions;
DROP TABLE roles;
DROP TABLE permissions;
DROP TABLE organizations;
