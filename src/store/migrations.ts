/**
 * The schema, a step a version. A step that has been released is never changed; a new one is added at the end.
 * `PRAGMA user_version` holds how many have run.
 */
export interface Migration {
  /** The first version of Steward that knows this schema; named when an older one meets it. */
  since: string;
  sql: string;
}

export const migrations: readonly Migration[] = [
  {
    since: '0.1.0',
    sql: `
      CREATE TABLE facts (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL
      ) STRICT;

      -- Events that may ask for something. The content goes when the event has been handled.
      CREATE TABLE inbox (
        event_id TEXT PRIMARY KEY,
        room_id TEXT NOT NULL,
        sender TEXT NOT NULL,
        type TEXT NOT NULL,
        content TEXT,
        age_ms INTEGER,
        caught_up INTEGER NOT NULL,
        received_at INTEGER NOT NULL,
        handled_at INTEGER
      ) STRICT;
      CREATE INDEX inbox_waiting ON inbox (received_at) WHERE handled_at IS NULL;

      -- What is to be sent, in order. The transaction id makes a repeated attempt the same event.
      CREATE TABLE outbox (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        txn_id TEXT NOT NULL UNIQUE,
        room_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        content TEXT,
        about_txn TEXT,
        file TEXT,
        job_id TEXT,
        created_at INTEGER NOT NULL,
        sent_at INTEGER,
        event_id TEXT,
        error TEXT
      ) STRICT;
      CREATE INDEX outbox_waiting ON outbox (seq) WHERE sent_at IS NULL;

      CREATE TABLE jobs (
        id TEXT PRIMARY KEY,
        request_id TEXT NOT NULL UNIQUE,
        command TEXT NOT NULL,
        inputs TEXT NOT NULL,
        plan TEXT NOT NULL,
        plan_hash TEXT NOT NULL,
        tier TEXT NOT NULL,
        state TEXT NOT NULL,
        requester TEXT NOT NULL,
        origin TEXT NOT NULL,
        prompt_event_id TEXT UNIQUE,
        created_at INTEGER NOT NULL,
        expires_at INTEGER,
        started_at INTEGER,
        finished_at INTEGER,
        undo TEXT,
        undone_by TEXT,
        undoes TEXT
      ) STRICT;
      CREATE INDEX jobs_open ON jobs (state) WHERE finished_at IS NULL;

      CREATE TABLE steps (
        job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        n INTEGER NOT NULL,
        state TEXT NOT NULL,
        result TEXT,
        failure TEXT,
        PRIMARY KEY (job_id, n)
      ) STRICT;

      -- Secrets that were put somewhere outside the room; never the secret itself.
      CREATE TABLE deliveries (
        name TEXT PRIMARY KEY,
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL
      ) STRICT;
    `,
  },
  {
    since: '0.2.0',
    sql: `
      -- Steward's own messages that take reactions.
      CREATE TABLE posts (
        event_id TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        ref TEXT NOT NULL
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX posts_of ON posts (kind, ref);
      INSERT INTO posts SELECT prompt_event_id, 'prompt', id FROM jobs WHERE prompt_event_id IS NOT NULL;

      ALTER TABLE outbox ADD COLUMN post_kind TEXT;
      ALTER TABLE outbox ADD COLUMN post_ref TEXT;
      UPDATE outbox SET post_kind = 'prompt', post_ref = job_id WHERE job_id IS NOT NULL;
      ALTER TABLE outbox DROP COLUMN job_id;

      -- How an event came: JSON of what is known of the device that sent it.
      ALTER TABLE inbox ADD COLUMN trust TEXT NOT NULL DEFAULT '{"kind":"plain"}';

      CREATE TABLE new_jobs (
        id TEXT PRIMARY KEY,
        request_id TEXT NOT NULL UNIQUE,
        command TEXT NOT NULL,
        inputs TEXT NOT NULL,
        plan TEXT NOT NULL,
        plan_hash TEXT NOT NULL,
        tier TEXT NOT NULL,
        state TEXT NOT NULL,
        requester TEXT NOT NULL,
        origin TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER,
        started_at INTEGER,
        finished_at INTEGER,
        undo TEXT,
        undone_by TEXT,
        undoes TEXT
      ) STRICT;
      INSERT INTO new_jobs SELECT id, request_id, command, inputs, plan, plan_hash, tier, state, requester, origin,
        created_at, expires_at, started_at, finished_at, undo, undone_by, undoes FROM jobs;
      DROP TABLE jobs;
      ALTER TABLE new_jobs RENAME TO jobs;
      CREATE INDEX jobs_open ON jobs (state) WHERE finished_at IS NULL;
    `,
  },
  {
    since: '0.2.0',
    sql: `
      -- The audit: a chain of records, added to and never changed. The last three columns are copies for finding.
      CREATE TABLE audit (
        seq INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        prev TEXT NOT NULL,
        hash TEXT NOT NULL,
        record TEXT NOT NULL,
        event TEXT NOT NULL,
        person TEXT,
        job_id TEXT
      ) STRICT;
      CREATE INDEX audit_by_event ON audit (event, seq);
      CREATE INDEX audit_by_person ON audit (person, seq) WHERE person IS NOT NULL;
      CREATE INDEX audit_by_job ON audit (job_id, seq) WHERE job_id IS NOT NULL;
      CREATE INDEX audit_by_time ON audit (at);
      CREATE TRIGGER audit_in_order BEFORE INSERT ON audit
        WHEN NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM audit)
          OR NEW.prev <> coalesce((SELECT hash FROM audit ORDER BY seq DESC LIMIT 1), NEW.prev)
        BEGIN SELECT RAISE(ABORT, 'a record follows the last one'); END;
      CREATE TRIGGER audit_stays BEFORE UPDATE ON audit
        BEGIN SELECT RAISE(ABORT, 'a record is never changed'); END;
      CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit
        BEGIN SELECT RAISE(ABORT, 'a record is never removed'); END;
    `,
  },
  {
    since: '0.2.0',
    sql: `
      -- Commands that run by a timetable, as the person who made them.
      CREATE TABLE schedules (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        due TEXT NOT NULL,
        expression TEXT NOT NULL,
        time_zone TEXT NOT NULL,
        line TEXT NOT NULL,
        command TEXT NOT NULL,
        tier TEXT NOT NULL,
        requester TEXT NOT NULL,
        catch_up TEXT NOT NULL,
        jitter INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        -- Each time of the timetable up to this one has been run, or passed over with a word about it.
        cursor INTEGER NOT NULL,
        asked_at INTEGER,
        paused_at INTEGER,
        paused_reason TEXT,
        last_success INTEGER
      ) STRICT;

      CREATE TABLE schedule_runs (
        schedule_id TEXT NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
        due_at INTEGER NOT NULL,
        outcome TEXT NOT NULL,
        job_id TEXT,
        started_at INTEGER NOT NULL,
        finished_at INTEGER,
        failure TEXT,
        PRIMARY KEY (schedule_id, due_at)
      ) STRICT;
    `,
  },
  {
    since: '0.2.0',
    sql: `
      ALTER TABLE jobs ADD COLUMN approved_at INTEGER;
      -- JSON of why it ended before it ran, or of what replaced its approval.
      ALTER TABLE jobs ADD COLUMN ending TEXT;
      CREATE INDEX jobs_due ON jobs (expires_at) WHERE state = 'pending';

      -- What a job waits for before it may run.
      CREATE TABLE approvals (
        job_id TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
        way TEXT NOT NULL,
        approver TEXT NOT NULL,
        persons INTEGER NOT NULL,
        excluded TEXT NOT NULL,
        typed TEXT,
        lookup TEXT,
        place TEXT NOT NULL,
        countdown INTEGER NOT NULL,
        request TEXT NOT NULL,
        round INTEGER NOT NULL,
        open INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX approvals_typed ON approvals (lookup) WHERE open = 1 AND lookup IS NOT NULL;
      CREATE INDEX approvals_same ON approvals (request) WHERE open = 1;
      INSERT INTO approvals SELECT id, 'confirm', 'requester', 1, '[]', NULL, NULL,
        CASE json_extract(requester, '$.kind') WHEN 'person' THEN 'room' ELSE 'terminal' END, 0, id, 0, 1
        FROM jobs WHERE state = 'pending';

      -- Who said what to which request.
      CREATE TABLE decisions (
        event_id TEXT PRIMARY KEY,
        job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        person TEXT NOT NULL,
        user_id TEXT NOT NULL,
        verdict TEXT NOT NULL,
        trust TEXT NOT NULL,
        at INTEGER NOT NULL,
        withdrawn_at INTEGER
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX decisions_of ON decisions (job_id);
      CREATE UNIQUE INDEX decisions_once ON decisions (job_id, person) WHERE verdict = 'approve' AND withdrawn_at IS NULL;

      -- People who may not approve for a while, because a job could have given control of an account of theirs.
      CREATE TABLE holds (
        person TEXT NOT NULL,
        job_id TEXT NOT NULL,
        until INTEGER NOT NULL,
        PRIMARY KEY (person, job_id)
      ) STRICT, WITHOUT ROWID;
      -- What stands, and what has been. An event stands for nothing: it is told once.
      CREATE TABLE alerts (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL,
        subject TEXT NOT NULL,
        detail TEXT NOT NULL,
        next TEXT NOT NULL,
        event INTEGER NOT NULL,
        raised_at INTEGER NOT NULL,
        resolved_at INTEGER,
        told_at INTEGER,
        resolution_told_at INTEGER,
        muted_until INTEGER,
        owner TEXT
      ) STRICT;
      CREATE UNIQUE INDEX alerts_standing ON alerts (id, subject) WHERE resolved_at IS NULL AND event = 0;
      CREATE INDEX alerts_by_name ON alerts (id, subject, seq);

      -- One message about one alert or several, as the channels get it.
      CREATE TABLE alert_messages (
        ref TEXT PRIMARY KEY,
        message TEXT NOT NULL,
        made_at INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;
      CREATE TABLE alert_message_parts (
        ref TEXT NOT NULL REFERENCES alert_messages (ref) ON DELETE CASCADE,
        alert INTEGER NOT NULL REFERENCES alerts (seq) ON DELETE CASCADE,
        PRIMARY KEY (ref, alert)
      ) STRICT, WITHOUT ROWID;
      -- What a channel has not taken yet.
      CREATE TABLE alert_deliveries (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        ref TEXT NOT NULL REFERENCES alert_messages (ref) ON DELETE CASCADE,
        channel TEXT NOT NULL,
        tries INTEGER NOT NULL,
        next_at INTEGER NOT NULL
      ) STRICT;
    `,
  },
  {
    since: '0.2.0',
    sql: `
      -- Rooms that have been seen encrypted; no row ever goes. Rotation as the room asks for it, where it does.
      CREATE TABLE encrypted_rooms (
        room_id TEXT PRIMARY KEY,
        rotation_ms INTEGER,
        rotation_messages INTEGER,
        since INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;
      INSERT INTO encrypted_rooms SELECT value, NULL, NULL, 0 FROM facts WHERE name = 'room_encrypted';
      DELETE FROM facts WHERE name = 'room_encrypted';

      -- The one device of this store: its keys and sessions as one snapshot.
      CREATE TABLE device (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        user_id TEXT NOT NULL,
        device_id TEXT NOT NULL,
        snapshot BLOB NOT NULL,
        digest BLOB NOT NULL,
        taken_at INTEGER NOT NULL
      ) STRICT;

      -- What an entry became when it was encrypted: sent as it is, however often.
      ALTER TABLE outbox ADD COLUMN encrypted TEXT;

      -- Events whose key has not come yet.
      CREATE TABLE undecryptable (
        event_id TEXT PRIMARY KEY,
        room_id TEXT NOT NULL,
        session_id TEXT NOT NULL,
        event TEXT NOT NULL,
        received_at INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;

      -- The cross-signing identity of each account in people:, and the one that was seen in its place.
      CREATE TABLE identity_pins (
        user_id TEXT PRIMARY KEY,
        identity TEXT NOT NULL,
        pinned_at INTEGER NOT NULL,
        seen TEXT,
        seen_at INTEGER
      ) STRICT, WITHOUT ROWID;
    `,
  },
  {
    since: '0.2.0',
    sql: `
      -- To whom files for a person are encrypted.
      CREATE TABLE age_recipients (
        person TEXT PRIMARY KEY,
        recipient TEXT NOT NULL,
        registered_at INTEGER NOT NULL
      ) STRICT;

      -- Passwords that lie in the file sink and are to be handed to a person; never the passwords themselves.
      CREATE TABLE handovers (
        account TEXT PRIMARY KEY,
        way TEXT NOT NULL,
        recipient TEXT NOT NULL,
        user_id TEXT NOT NULL,
        state TEXT NOT NULL,
        ref TEXT NOT NULL UNIQUE,
        event_id TEXT,
        thread_id TEXT
      ) STRICT;
    `,
  },
  {
    since: '0.2.0',
    sql: `
      -- Backups as they were made; the manifest in the destination is the truth.
      CREATE TABLE backups (
        id TEXT NOT NULL,
        destination TEXT NOT NULL,
        state TEXT NOT NULL,
        started_at INTEGER NOT NULL,
        finished_at INTEGER,
        database_at INTEGER,
        bytes INTEGER,
        manifest TEXT,
        content_level INTEGER,
        object_level INTEGER,
        proven_at INTEGER,
        PRIMARY KEY (id, destination)
      ) STRICT;

      -- Keys of backups: the public half, and the private one sealed to the admins' recipients.
      CREATE TABLE backup_epochs (
        name TEXT PRIMARY KEY,
        created_at INTEGER NOT NULL,
        recipient TEXT NOT NULL,
        sealed BLOB NOT NULL,
        recipients TEXT NOT NULL
      ) STRICT;

      -- Which media each destination holds, and in which pack.
      CREATE TABLE media_packs (
        destination TEXT NOT NULL,
        name TEXT NOT NULL,
        backup TEXT NOT NULL,
        pack TEXT NOT NULL,
        PRIMARY KEY (destination, name)
      ) STRICT;
      CREATE TABLE media_files (
        destination TEXT NOT NULL,
        media_id TEXT NOT NULL,
        pack TEXT NOT NULL,
        PRIMARY KEY (destination, media_id)
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX media_files_of ON media_files (destination, pack);
      CREATE TABLE media_until (
        destination TEXT PRIMARY KEY,
        until INTEGER NOT NULL
      ) STRICT;
    `,
  },
  {
    since: '0.2.0',
    sql: `
      -- The rooms in which a person is alone with Steward.
      CREATE TABLE direct_rooms (
        user_id TEXT PRIMARY KEY,
        room_id TEXT NOT NULL UNIQUE,
        made_for TEXT NOT NULL
      ) STRICT;

      -- Messages that hold a secret, and when each is to be removed; never the secrets.
      CREATE TABLE disclosures (
        event_id TEXT PRIMARY KEY,
        room_id TEXT NOT NULL,
        user_id TEXT NOT NULL,
        due_at INTEGER NOT NULL
      ) STRICT;
    `,
  },
  {
    since: '0.2.0',
    sql: `
      -- Kept whatever the retention says.
      ALTER TABLE backups ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;
    `,
  },
  {
    since: '0.2.0',
    sql: `
      -- Invitations to other rooms that are not declined yet.
      CREATE TABLE invitations (
        room_id TEXT PRIMARY KEY,
        inviter TEXT NOT NULL
      ) STRICT;
    `,
  },
  {
    since: '0.2.0',
    sql: `
      -- The journal of restores.
      CREATE TABLE restores (
        id TEXT PRIMARY KEY,
        backup TEXT NOT NULL,
        destination TEXT NOT NULL,
        state TEXT NOT NULL,
        step TEXT,
        parts TEXT NOT NULL,
        report TEXT,
        started_at INTEGER NOT NULL,
        changed_at INTEGER NOT NULL,
        cut_over_at INTEGER,
        downtime INTEGER
      ) STRICT;
    `,
  },
  {
    since: '0.2.0',
    sql: `
      -- Leave that was given once for the runs of a schedule, within bounds; kept after it has ended.
      CREATE TABLE standing_approvals (
        job_id TEXT PRIMARY KEY,
        schedule_id TEXT NOT NULL,
        line TEXT NOT NULL,
        tier TEXT NOT NULL,
        max_objects INTEGER NOT NULL,
        givers TEXT NOT NULL,
        granted_at INTEGER NOT NULL,
        until INTEGER NOT NULL,
        uses INTEGER NOT NULL DEFAULT 0,
        used_at INTEGER,
        warned_at INTEGER,
        ended_at INTEGER,
        ended TEXT
      ) STRICT;
      CREATE UNIQUE INDEX standing_approvals_of ON standing_approvals (schedule_id) WHERE ended_at IS NULL;
    `,
  },
  {
    since: '0.2.0',
    sql: `
      -- What a device that is gone may have sent: it is looked for before it is said again.
      ALTER TABLE outbox ADD COLUMN doubted TEXT;
    `,
  },
  {
    since: '0.2.0',
    sql: `
      -- A schedule that has no times of its own: it runs when a run of this other one has ended well.
      ALTER TABLE schedules ADD COLUMN follows TEXT;
    `,
  },
  {
    since: '0.2.0',
    sql: `
      -- What the homeserver calls the work that it goes on with after its answer.
      ALTER TABLE steps ADD COLUMN work TEXT;
    `,
  },
  {
    since: '0.2.0',
    sql: `
      -- An account that a cutover is verified with, until it is erased.
      ALTER TABLE restores ADD COLUMN probe TEXT;
    `,
  },
  {
    since: '0.2.0',
    sql: `
      -- Media without a file, or with another one than their rows say: a backup tells of all, not only of those it has just seen.
      CREATE TABLE media_faults (
        destination TEXT NOT NULL,
        media_id TEXT NOT NULL,
        problem TEXT NOT NULL CHECK (problem IN ('missing', 'wrong')),
        PRIMARY KEY (destination, media_id)
      ) STRICT;
      -- When all media were held against their rows last.
      CREATE TABLE media_checks (destination TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT;
      CREATE INDEX media_files_by_pack ON media_files (destination, pack, media_id);
    `,
  },
  {
    since: '0.2.0',
    sql: `
      -- Whom backups are sealed to, and who has shown to be able to open them; by which epochs a backup is sealed, and when one was opened.
      CREATE TABLE backup_recipients (
        recipient TEXT PRIMARY KEY,
        accepted_at INTEGER,
        confirmed_at INTEGER
      ) STRICT;
      ALTER TABLE backup_epochs ADD COLUMN opened_at INTEGER;
      ALTER TABLE backups ADD COLUMN epochs TEXT;
    `,
  },
  {
    since: '0.2.0',
    sql: `
      -- Which media a pack holds is most of a large catalogue, which goes with every backup: a row names its pack by a number, in one index.
      ALTER TABLE media_packs RENAME TO named_packs;
      ALTER TABLE media_files RENAME TO named_files;
      CREATE TABLE media_packs (
        id INTEGER PRIMARY KEY,
        destination TEXT NOT NULL,
        name TEXT NOT NULL,
        backup TEXT NOT NULL,
        pack TEXT NOT NULL,
        UNIQUE (destination, name)
      ) STRICT;
      CREATE TABLE media_files (
        destination TEXT NOT NULL,
        media_id TEXT NOT NULL,
        pack INTEGER NOT NULL,
        PRIMARY KEY (destination, media_id)
      ) STRICT, WITHOUT ROWID;
      INSERT INTO media_packs (destination, name, backup, pack) SELECT destination, name, backup, pack FROM named_packs;
      INSERT INTO media_files SELECT f.destination, f.media_id, p.id FROM named_files f JOIN media_packs p ON p.destination = f.destination AND p.name = f.pack;
      DROP TABLE named_packs;
      DROP TABLE named_files;
      CREATE INDEX media_files_of ON media_files (pack);
    `,
  },
];
