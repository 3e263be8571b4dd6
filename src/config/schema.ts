import { z } from 'zod';
import { section } from './section.ts';
import { secretFile } from './secret.ts';

/**
 * The whole configuration. A description is what docs/config.md and the generated sample say;
 * `meta.example` is the value that the sample shows where there is no default.
 */

const mxid = z.string().regex(/^@[^:\s]+:\S+$/, 'a Matrix user id such as @alice:example.org');
const duration = z
  .string()
  .regex(/^[1-9]\d*(s|m|h|d|w)$/, 'a duration such as 30s, 15m, 12h, 7d')
  .transform((text) => Number.parseInt(text, 10) * ({ s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 }[text.at(-1) ?? 's'] ?? 1) * 1000);
const httpUrl = z
  .url({ protocol: /^https?$/, error: 'an address such as http://127.0.0.1:8008' })
  .regex(/^[^@]*$/, 'an address without user name and password')
  .transform((url) => url.replace(/\/+$/, ''));

/** How a new password may reach a human; src/secrets/ladder.ts knows how. */
export const ways = ['invite', 'dm', 'age', 'file'] as const;

export const tierNames = ['read', 'change', 'confirmed', 'destructive', 'catastrophic'] as const;

const reach = (description: string) =>
  section({
    groups: z.array(z.string()).default(['*']).describe('Command groups (`user`, `server`, …); `*` is all of them.'),
    tier: z.enum(tierNames).default('catastrophic').describe('The highest tier: read, change, confirmed, destructive, catastrophic.'),
  })
    .prefault({})
    .describe(description);

const homeserver = section({
  url: httpUrl.describe('Address of the Client-Server API, as Steward reaches it.').meta({ example: 'http://127.0.0.1:8008' }),
  admin_url: httpUrl
    .optional()
    .describe('Address of the Admin API, where a proxy hides it from `url`. Default: `url`.')
    .meta({ example: 'http://127.0.0.1:8008' }),
  server_name: z.string().min(1).describe('The part after the colon of its user ids.').meta({ example: 'example.org' }),
  user_id: mxid.describe("Steward's own account.").meta({ example: '@steward:example.org' }),
  device_id: z
    .string()
    .min(1)
    .optional()
    .describe('The device that the access token belongs to; checked at start.')
    .meta({ example: 'STEWARD' }),
  access_token_file: secretFile.describe('File that holds the access token, mode 0600.').meta({ example: 'secrets/access-token' }),
});

const room = section({
  id: z
    .string()
    .regex(/^!\S+$/, 'a room id such as !abc:example.org')
    .describe('The admin room.')
    .meta({ example: '!abcdef:example.org' }),
  name: z
    .string()
    .regex(/^[a-z][a-z0-9-]*$/, 'lower-case letters, digits and hyphens')
    .default('steward')
    .describe('The name it answers to: `!steward user list`.'),
  expect: section({
    encrypted: z.boolean().default(false).describe('Whether it must be encrypted. A room that ever was must stay so in any case.'),
    federated: z.boolean().default(false).describe('Whether other homeservers may take part.'),
    history: z
      .enum(['joined', 'invited', 'shared'])
      .default('joined')
      .describe('The most that newcomers may read: from when they joined, from when they were invited, or everything.'),
    members: z
      .array(z.string().regex(/^@/, 'a glob of user ids such as @other-bot:example.org'))
      .default([])
      .describe('Globs of accounts that may be there beside those of `people:`, such as other bots.'),
  })
    .prefault({})
    .describe('What `server room check` and the guard hold it to.'),
  bare_prefix: z.boolean().default(true).describe('Whether it answers to `!user list` too. Switch off where several bots share the room.'),
});

const person = section({
  user_ids: z.array(mxid).min(1).describe('All Matrix accounts of this human.'),
  roles: z.array(z.string()).default([]).describe('Roles of `roles:`.'),
});

const role = section({
  owner: z.boolean().default(false).describe('May change Steward itself.'),
  request: reach('What a person of this role may ask for.'),
  approve: reach('What a person of this role may approve.'),
});

const words = z.array(z.string().min(1)).min(1);

const component = section({
  unit: z
    .string()
    .regex(/^[\w@:.\\-]+$/, 'the name of a systemd unit')
    .optional()
    .describe('Its systemd unit; then no commands are needed.')
    .meta({ example: 'matrix-synapse.service' }),
  status: words
    .optional()
    .describe('Command, a list of words: exit code 0 when it runs; what it says is another thing after each start.')
    .meta({ example: ['pgrep', '-f', 'synapse.app.homeserver'] }),
  restart: words
    .optional()
    .describe('Command that restarts it.')
    .meta({ example: ['synctl', 'restart'] }),
  stop: words
    .optional()
    .describe('Command that stops it; a restore needs it.')
    .meta({ example: ['synctl', 'stop'] }),
  start: words
    .optional()
    .describe('Command that starts it; a restore needs it.')
    .meta({ example: ['synctl', 'start'] }),
  logs: words
    .optional()
    .describe('Command that writes its log.')
    .meta({ example: ['tail', '-n', '1000', '/var/log/matrix-synapse/homeserver.log'] }),
});

const stack = section({
  homeserver_config: z
    .array(z.string().min(1))
    .min(1)
    .describe('The files and folders that Synapse is given by `-c`, in the same order. Steward reads them for where everything is.')
    .meta({ example: ['/etc/matrix-synapse/homeserver.yaml', '/etc/matrix-synapse/conf.d'] }),
  working_dir: z
    .string()
    .optional()
    .describe("Where Synapse's relative paths start. Default: the folder of the first configuration file.")
    .meta({ example: '/var/lib/matrix-synapse' }),
  mas_config: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .describe(
      'The files that Matrix Authentication Service is given by `--config`, in the same order, where it has the accounts. Its database is backed up by the role that they name.',
    )
    .meta({ example: ['/etc/mas/config.yaml'] }),
  database: section({
    user: z.string().min(1).describe('Name of the role.').meta({ example: 'steward' }),
    password_file: secretFile.describe('File that holds its password, mode 0600.').meta({ example: 'secrets/database-password' }),
  })
    .optional()
    .describe("A PostgreSQL role of Steward's own. Default: the homeserver's."),
  postgres_programs: z
    .string()
    .optional()
    .describe("Folder of PostgreSQL's programs. Default: where Debian and PGDG put them.")
    .meta({ example: '/usr/lib/postgresql/15/bin' }),
  scratch_dir: z
    .string()
    .optional()
    .describe(
      "Folder for a PostgreSQL that is made to prove a backup and thrown away; as large as the database. Default: the system's for temporary files.",
    )
    .meta({ example: '/var/tmp' }),
  synapse_python: z
    .string()
    .optional()
    .describe(
      "A Python that has Synapse, which `backup drill` starts on a copy. Default: the one that runs the homeserver, or that of Synapse's Debian package.",
    )
    .meta({ example: '/opt/venvs/matrix-synapse/bin/python' }),
  components: z
    .record(z.string().regex(/^[a-z][a-z0-9_-]*$/, 'lower-case letters, digits, _ and -'), component)
    .default({})
    .describe(
      'What `server restart` and `server logs` act on, and what a restore stops and starts: all that uses the database, in the order of starting. Not PostgreSQL.',
    )
    .meta({ example: { synapse: { unit: 'matrix-synapse.service' } } }),
});

const s3 = section({
  endpoint: httpUrl
    .optional()
    .describe("Address of the service; AWS's own of the region when left out.")
    .meta({ example: 'https://s3.example.net' }),
  region: z.string().min(1).default('us-east-1').describe('The region, which signatures name; most services take any.'),
  bucket: z.string().min(3).describe('The bucket, which must be there.').meta({ example: 'matrix-backup' }),
  prefix: z
    .string()
    .regex(/^$|^[A-Za-z0-9_-][A-Za-z0-9._-]*(\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/, 'letters, digits, . _ - and slashes between')
    .default('')
    .describe('What all names begin with; nothing when left out.'),
  access_key_id: z.string().min(1).describe('The access key.').meta({ example: 'STEWARD' }),
  secret_access_key_file: secretFile.describe('File that holds its secret.').meta({ example: 'secrets/s3-secret' }),
  path_style: z.boolean().default(true).describe('The bucket in the path, as most services but AWS want it.'),
  lock: section({
    days: z.int().min(1).max(36_500).describe('For so many days nobody can remove what was stored.').meta({ example: 30 }),
    mode: z.enum(['governance', 'compliance']).default('governance').describe('`compliance` binds the owner of the bucket too.'),
  })
    .optional()
    .describe('Object Lock; the bucket must have been made with it. A `backup prune` within that time fails.'),
});

const count = (kept: number, what: string) => z.int().min(0).default(kept).describe(what);

const backup = section({
  retention: section({
    last: count(3, 'The newest ones, whenever they were taken.'),
    hourly: count(0, 'One of each of so many hours.'),
    daily: count(7, 'One of each of so many days that have one.'),
    weekly: count(5, 'One of each of so many weeks.'),
    monthly: count(12, 'One of each of so many months.'),
    yearly: count(0, 'One of each of so many years.'),
    within: duration.prefault('1d').describe('All that are at most this much older than the newest one.'),
  })
    .prefault({})
    .describe('What `backup prune` keeps of each destination; the newest proven backup and pinned ones stay always.'),
  destinations: z
    .record(
      z.string().regex(/^[a-z][a-z0-9_-]*$/, 'lower-case letters, digits, _ and -'),
      section({
        directory: z
          .string()
          .min(1)
          .optional()
          .describe('A folder, on another disk than the data.')
          .meta({ example: '/mnt/backup/matrix' }),
        s3: s3.optional().describe('A bucket of a service that speaks S3.'),
      }),
    )
    .default({})
    .describe('Where backups go: each one goes to all of these. One that is proven in two is safe.')
    .meta({ example: { disk: { directory: '/mnt/backup/matrix' } } }),
  database: section({
    engine: z.enum(['pgbackrest', 'barman']).describe('The program that guards the database.').meta({ example: 'pgbackrest' }),
    server: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]*$/, 'a name of letters, digits and . _ -')
      .describe('What it calls the database: the stanza of pgBackRest, the server of Barman.')
      .meta({ example: 'main' }),
    command: words
      .optional()
      .describe('How it is run, a list of words; Steward adds stanza or server and what is to be done. Default: its name.')
      .meta({ example: ['sudo', '-u', 'postgres', 'pgbackrest'] }),
    fresh: duration.prefault('26h').describe('`server doctor` fails when its newest backup is older.'),
  })
    .optional()
    .describe(
      'Who guards the database, where that is not Steward: `backup create` has it make the copy, and does media, keys, configuration and the report itself.',
    ),
  engine_from_gb: z
    .int()
    .min(1)
    .default(300)
    .describe('From this size of the database on `server doctor` advises to have an engine guard it.'),
  scripts_dir: z
    .string()
    .min(1)
    .optional()
    .describe(
      'Folder of backups that `backup.sh` made, such as its `.backup`: they are listed, verified and restored. Nothing is written there.',
    )
    .meta({ example: '/root/matrix-synapse-stack/.backup' }),
  keys: section({
    recipients: z
      .array(z.string().regex(/^age1[a-z0-9]+$/, 'a recipient of age, such as age1…'))
      .default([])
      .describe("The admins' own recipients of age (`age-keygen -y my.key`). Each of them alone can open every backup."),
    identity_file: secretFile
      .optional()
      .describe(
        'File with an identity of age that opens backups without an admin: restores and whole checks need nobody then, and who has this machine has the backups.',
      )
      .meta({ secretFile: true, example: 'secrets/backup-identity' }),
  })
    .prefault({})
    .describe('Who can open backups.'),
  heartbeat: section({
    url_file: secretFile
      .describe('File that holds the address; it is asked (GET) after each backup whose content is proven at L3 and whose objects at L1.')
      .meta({ example: 'secrets/heartbeat-url' }),
  })
    .optional()
    .describe('A monitor off this machine that pages when it hears nothing, such as healthchecks.io, Uptime Kuma or Cronitor.'),
});

const alerts = section({
  webhook: section({
    url_file: secretFile
      .describe('File that holds the address; each alert is posted to it as JSON.')
      .meta({ example: 'secrets/webhook-url' }),
  })
    .optional()
    .describe('A web hook off the homeserver.'),
  ntfy: section({
    url_file: secretFile
      .describe('File that holds the address of the topic, such as https://ntfy.sh/TOPIC; who knows it can read along.')
      .meta({ example: 'secrets/ntfy-url' }),
    token_file: secretFile
      .optional()
      .describe('File that holds the access token, where the server wants one.')
      .meta({ example: 'secrets/ntfy-token' }),
  })
    .optional()
    .describe('A topic of ntfy, which phones subscribe to.'),
  smtp: section({
    host: z.string().min(1).describe('The mail server.').meta({ example: 'mail.example.net' }),
    port: z.int().min(1).default(465).describe('Its port: 465 for `tls`, 587 for `starttls`.'),
    security: z
      .enum(['tls', 'starttls', 'none'])
      .default('tls')
      .describe('`tls` from the first byte, `starttls` before anything is sent, `none` for a server on this machine.'),
    user: z.string().optional().describe('The account there.').meta({ example: 'steward' }),
    password_file: secretFile.optional().describe('File that holds its password.').meta({ example: 'secrets/smtp-password' }),
    from: z.string().min(3).describe('The sender.').meta({ example: 'Steward <steward@example.net>' }),
    to: z
      .array(z.string().regex(/@/, 'a mail address'))
      .min(1)
      .describe('The receivers; not on the homeserver that Steward watches.')
      .meta({ example: ['oncall@example.net'] }),
  })
    .optional()
    .describe('Mail.'),
  repeat: duration.prefault('1h').describe('A critical alert that nobody has taken or muted is told again after this.'),
})
  .prefault({})
  .describe('Channels off the homeserver, for when it is the homeserver that is ill.');

const doctor = section({
  every: duration.prefault('10m').describe('How often `server doctor` is run unasked; a line that turns to fail is an alert.'),
})
  .prefault({})
  .describe('Steward looks after itself.');

export const configSchema = section({
  data_dir: z.string().default('/var/lib/steward').describe('Folder of the store, the socket and the exports; relative to this file.'),
  time_zone: z
    .string()
    .refine((zone) => isTimeZone(zone), 'a time zone such as Europe/Berlin')
    .default('UTC')
    .describe('Zone that times are shown in.'),
  homeserver: homeserver.optional().describe('The homeserver to administer; may be missing while there is none yet.'),
  room: room.optional().describe('The admin room.'),
  backup: backup.optional().describe('Backups of the homeserver.'),
  stack: stack.optional().describe('Where the homeserver runs, for a Steward on the same machine.'),
  people: z
    .record(z.string(), person)
    .default({})
    .describe('The humans who may command, each with all of their accounts.')
    .meta({ example: { alice: { user_ids: ['@alice:example.org'], roles: ['owner'] } } }),
  roles: z
    .record(z.string(), role)
    .default({ owner: { owner: true, request: { groups: ['*'], tier: 'catastrophic' }, approve: { groups: ['*'], tier: 'catastrophic' } } })
    .describe('What each role may request and approve.'),
  approval: section({
    mode: z.enum(['two-person', 'single']).default('two-person').describe('`two-person`, or `single` where there is one admin.'),
    destructive: duration.prefault('12h').describe('How long a destructive command waits for its approval.'),
    catastrophic: duration.prefault('15m').describe('How long a catastrophic command waits for its approval.'),
    execution: duration.prefault('5m').describe('What was approved and could not begin within this is not run any more.'),
    countdown: duration
      .prefault('10s')
      .describe('Time between the approval of a catastrophic command and its run, in which any operator may veto it.'),
    countdown_single: duration.prefault('60s').describe('The same in mode `single`.'),
    hold: duration
      .prefault('24h')
      .describe('How long a person may not approve, after a command could have given control of an account of theirs.'),
    catastrophic_in_plain_room: z
      .boolean()
      .default(false)
      .describe(
        'Whether catastrophic commands may be approved in a room that is not encrypted, where a server admin can forge the approval.',
      ),
  })
    .prefault({})
    .describe('How destructive commands are approved.'),
  guards: section({
    protected: z
      .array(z.string().regex(/^@/, 'a glob of user ids such as @bridge-*:example.org'))
      .default([])
      .describe('Globs of user ids that no command may harm.'),
  })
    .prefault({})
    .describe('What no flag lifts.'),
  limits: section({
    bulk: z.int().min(1).default(20).describe('More targets than this in one command are catastrophic.'),
    command_age: duration.prefault('5m').describe('Commands older than this are listed as missed, not run.'),
    confirmation: duration.prefault('5m').describe('How long a confirmation may take.'),
    per_minute: z.int().min(1).default(300).describe('Commands that one person may give in a minute.'),
  })
    .prefault({})
    .describe('Bounds.'),
  secrets: section({
    deliver: z
      .array(z.enum(ways))
      .min(1)
      .default(['dm', 'age', 'file'])
      .describe(
        'How a generated password reaches the person who asks, the first way that can be: `invite` (by e-mail, nobody has it), `dm` (an encrypted direct message to their cross-signed devices), `age` (a file encrypted to their age key), `file` (on this machine).',
      ),
    dm: section({
      remove: duration.prefault('5m').describe('After this a password is removed from the direct message.'),
    })
      .prefault({})
      .describe('Direct messages.'),
    file: section({
      dir: z
        .string()
        .optional()
        .describe('Folder for generated passwords, one 0600 file each. Default: `secrets` in `data_dir`.')
        .meta({ example: '/var/lib/steward/secrets' }),
      expire: duration.prefault('7d').describe('After this a delivered password is removed.'),
    })
      .prefault({})
      .describe('Files on this machine.'),
  })
    .prefault({})
    .describe('Where generated secrets go; never the room.'),
  encryption: section({
    accept: z
      .enum(['cross-signed', 'tofu', 'any'])
      .default('cross-signed')
      .describe(
        'Whose commands are run in an encrypted room: `cross-signed` devices only; `tofu` also the first device of somebody without cross-signing; `any` device.',
      ),
    recovery_path: z
      .string()
      .optional()
      .describe("File of the private keys of Steward's own identity. Default: `secrets/crypto-recovery.json` in `data_dir`.")
      .meta({ example: '/var/lib/steward/secrets/crypto-recovery.json' }),
  })
    .prefault({})
    .describe('Encrypted rooms.'),
  http: section({
    listen: z
      .string()
      .regex(/^\S+:\d{1,5}$/, 'host:port, such as 127.0.0.1:9480')
      .optional()
      .describe('Where /livez, /readyz and /metrics answer. Nowhere when left out.')
      .meta({ example: '127.0.0.1:9480' }),
  })
    .prefault({})
    .describe('Health and metrics.'),
  log: section({
    level: z.enum(['error', 'warn', 'info', 'debug']).default('info').describe('Lowest level that is written.'),
    format: z.enum(['json', 'human']).default('json').describe('`json`, or `human` for a terminal.'),
  })
    .prefault({})
    .describe('Log on standard error.'),
  alerts,
  doctor,
});

export type Config = z.output<typeof configSchema>;

function isTimeZone(zone: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: zone });
    return true;
  } catch {
    return false;
  }
}
