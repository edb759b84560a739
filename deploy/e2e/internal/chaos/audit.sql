-- What the checker wants to know about each write, in the transaction that makes it: by whom, and at which epoch. The functions run
-- as the owner, so that the roles of the programs need no rights here.
CREATE SCHEMA chaos;

CREATE TABLE chaos.change (
    id           bigint GENERATED ALWAYS AS IDENTITY,
    job_id       uuid        NOT NULL,
    at           timestamptz NOT NULL,
    writer       text        NOT NULL,
    tx           bigint      NOT NULL,
    before       text        NOT NULL,
    after        text        NOT NULL,
    epoch_before bigint      NOT NULL,
    epoch        bigint      NOT NULL,
    attempt      integer     NOT NULL,
    lease_left   double precision NOT NULL
);
CREATE INDEX ON chaos.change (job_id, id);

CREATE TABLE chaos.entry (
    job_id uuid        NOT NULL,
    seq    bigint      NOT NULL,
    at     timestamptz NOT NULL,
    writer text        NOT NULL,
    tx     bigint      NOT NULL,
    epoch  bigint      NOT NULL,
    status text        NOT NULL
);
CREATE INDEX ON chaos.entry (job_id, seq);

CREATE TABLE chaos.step (LIKE chaos.entry);
CREATE INDEX ON chaos.step (job_id, seq);

CREATE FUNCTION chaos.changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO chaos.change (job_id, at, writer, tx, before, after, epoch_before, epoch, attempt, lease_left)
        VALUES (NEW.id, clock_timestamp(), current_setting('application_name'), txid_current(),
            '', NEW.status, 0, NEW.lease_epoch, NEW.attempt, 0);
    ELSE
        INSERT INTO chaos.change (job_id, at, writer, tx, before, after, epoch_before, epoch, attempt, lease_left)
        VALUES (NEW.id, clock_timestamp(), current_setting('application_name'), txid_current(),
            OLD.status, NEW.status, OLD.lease_epoch, NEW.lease_epoch, NEW.attempt,
            coalesce(extract(epoch FROM OLD.lease_expires_at - clock_timestamp()), 0));
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION chaos.logged() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    INSERT INTO chaos.entry
    SELECT NEW.job_id, NEW.seq, clock_timestamp(), current_setting('application_name'), txid_current(), j.lease_epoch, j.status
    FROM public.jobs j WHERE j.id = NEW.job_id;
    RETURN NULL;
END $$;

CREATE FUNCTION chaos.journalled() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    INSERT INTO chaos.step
    SELECT NEW.job_id, NEW.step_no, clock_timestamp(), current_setting('application_name'), txid_current(), j.lease_epoch, j.status
    FROM public.jobs j WHERE j.id = NEW.job_id;
    RETURN NULL;
END $$;

CREATE TRIGGER chaos_made AFTER INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION chaos.changed();
CREATE TRIGGER chaos_changed AFTER UPDATE ON jobs FOR EACH ROW
    WHEN ((OLD.status, OLD.lease_epoch, OLD.attempt) IS DISTINCT FROM (NEW.status, NEW.lease_epoch, NEW.attempt))
    EXECUTE FUNCTION chaos.changed();
CREATE TRIGGER chaos_logged AFTER INSERT ON job_events FOR EACH ROW EXECUTE FUNCTION chaos.logged();
CREATE TRIGGER chaos_journalled AFTER INSERT OR UPDATE ON run_steps FOR EACH ROW EXECUTE FUNCTION chaos.journalled();
