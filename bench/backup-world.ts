import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ageRecipient, ensureAge, makeAgeKey } from '../kit/age.ts';
import { ensurePostgres, sql } from '../kit/postgres.ts';
import { run } from '../kit/process.ts';
import { absoluteLimit, type Limit } from './limit.ts';
import { forgetPeak, peakMemory } from './memory.ts';
import type { Program } from './program.ts';
import { commands, type World } from './world.ts';

/** Rows like those of a real server: 400 000 events of which most are ciphertext, and state that says the same again and again; 1 GB as text. */
const events = 400_000;
const states = 5_300_000;

/** A Steward that backs this world up, and the programs that a user would take instead. */
export interface BackupWorld {
  /** The destination's folder. */
  disk: string;
  /** Folder of PostgreSQL's programs. */
  programs: string;
  /** Identity of age that opens everything. */
  key: string;
  /** A shell's words for the address of the database; the password goes by PGPASSWORD. */
  address: string;
  steward(...words: string[]): Promise<string>;
  /** Starts the daemon, which then does what `steward` and `create` ask for. */
  startDaemon(): Promise<Program>;
  /** Seconds that a shell takes for a script. */
  shell(script: string): Promise<number>;
  /** One backup into a destination that is empty, or not. */
  create(options: { empty: boolean }): Promise<Made>;
}

export interface Made {
  id: string;
  /** Seconds from the first step to the manifest on the disk, and those of the proof that follows. */
  seconds: number;
  proof: number;
  /** All that the destination has more than before. */
  bytes: number;
  databaseBytes: number;
  level: number;
}

/** @param settings of Steward beside those of backups, by the environment */
export async function openBackups(world: World, settings: Readonly<Record<string, string>> = {}): Promise<BackupWorld> {
  await ensureAge();
  const programs = await ensurePostgres();
  const { database, synapse, scratch } = world;
  const disk = join(scratch, 'disk');
  const key = join(scratch, 'my.key');
  // One for the whole world: other recipients are not taken before somebody accepts them.
  const recipient = existsSync(key) ? await ageRecipient(key) : await makeAgeKey(key);
  const env = {
    PGPASSWORD: database.password,
    STEWARD_STACK__HOMESERVER_CONFIG: JSON.stringify([synapse.configPath]),
    STEWARD_BACKUP__DESTINATIONS__DISK__DIRECTORY: disk,
    STEWARD_BACKUP__KEYS__RECIPIENTS: JSON.stringify([recipient]),
    STEWARD_BACKUP__KEYS__IDENTITY_FILE: key,
    ...settings,
  };
  const steward = (...words: string[]): Promise<string> => run(world.shell(...words) as [string, ...string[]], { env });
  return {
    disk,
    programs,
    key,
    address: `-h ${database.host} -p ${database.port} -U ${database.user}`,
    steward,
    startDaemon: () => world.startSteward(synapse.url, env),
    shell: async (script) => {
      const begin = performance.now();
      await run(['bash', '-e', '-o', 'pipefail', '-c', script], { env });
      return (performance.now() - begin) / 1000;
    },
    create: async ({ empty }) => {
      if (empty && existsSync(disk)) {
        for (const name of readdirSync(disk)) rmSync(join(disk, name), { recursive: true });
        // A place that has lost what was put there is not written to before somebody says that it is so.
        await steward('backup', 'scan');
      }
      const before = bytesIn(disk);
      await steward('backup', 'create');
      const id =
        readdirSync(disk)
          .filter((name) => /^\d/.test(name))
          .sort()
          .at(-1) ?? '';
      const manifest = join(disk, id, 'manifest.json');
      const { startedAt, objects } = JSON.parse(readFileSync(manifest, 'utf8')) as {
        startedAt: string;
        objects: { role: string; stored: { bytes: number } }[];
      };
      const { content } = JSON.parse(readFileSync(join(disk, id, 'proof.json'), 'utf8')) as { content: { seconds: number; level: number } };
      return {
        id,
        seconds: (statSync(manifest).mtimeMs - Date.parse(startedAt)) / 1000,
        proof: content.seconds,
        level: content.level,
        bytes: bytesIn(disk) - before,
        databaseBytes: objects.find(({ role }) => role === 'database')?.stored.bytes ?? 0,
      };
    },
  };
}

function bytesIn(folder: string): number {
  if (!existsSync(folder)) return 0;
  const found = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return found.reduce((sum, { parentPath, name }) => sum + statSync(join(parentPath, name)).size, 0);
}

/** With the daemon, and its memory: what it holds at the most is told beside each number. */
export async function withDaemon<T>(
  backups: BackupWorld,
  work: () => Promise<T>,
): Promise<{ found: T; memory: (name: string, on: string) => Limit }> {
  const daemon = await backups.startDaemon();
  try {
    forgetPeak(daemon.pid);
    const found = await work();
    const peak = peakMemory(daemon.pid);
    return {
      found,
      memory: (name, on) =>
        absoluteLimit(
          `${name}-memory`,
          256,
          { ran: `${commands.steward}, the most that it held in all rounds`, unit: 'MiB', values: [peak] },
          on,
        ),
    };
  } finally {
    await daemon.stop();
  }
}

/** Does nothing when they are there. */
export async function seedRows({ database }: World): Promise<void> {
  if ((await sql(database, `SELECT 1 FROM event_json WHERE event_id = '$seed1'`)) !== '') return;
  // 48 random bytes of base64 for each digest: nothing that compresses.
  const ciphertext = `(SELECT string_agg(encode(sha384((n || ':' || i)::bytea), 'base64'), '') FROM generate_series(1, 20) AS i)`;
  await sql(
    database,
    `BEGIN;
    INSERT INTO event_json (event_id, room_id, internal_metadata, json, format_version)
      SELECT '$seed' || n, '!room' || n % 500 || ':example.org', '{"token_id":' || n % 100 || ',"stream_ordering":' || n || '}',
        json_build_object('type', CASE WHEN n % 5 < 3 THEN 'm.room.encrypted' ELSE 'm.room.member' END, 'sender', '@user' || n % 1000 || ':example.org',
          'origin_server_ts', 1700000000000 + n * 1000, 'depth', n, 'auth_events', json_build_array('$a' || md5(n::text), '$b' || md5((n % 77)::text)),
          'content', json_build_object('algorithm', 'm.megolm.v1.aes-sha2', 'ciphertext', CASE WHEN n % 5 < 3 THEN ${ciphertext} ELSE 'join' END))::text, 3
      FROM generate_series(1, ${events}) AS n;
    INSERT INTO state_groups_state (state_group, room_id, type, state_key, event_id)
      SELECT 1000000 + n / 200, '!room' || n % 500 || ':example.org', 'm.room.member', '@user' || n % 1000 || ':example.org', '$seed' || n % ${events}
      FROM generate_series(1, ${states}) AS n;
    COMMIT;
    ANALYZE;`,
  );
}

/** Media that do not compress, with their rows; those that are there stay. */
export async function seedMedia({ database, synapse }: World, count: number, bytes: number, createdAt: number): Promise<void> {
  const rows: string[] = [];
  for (let n = 0; n < count; n += 1) {
    const id = randomBytes(12).toString('hex');
    const content = randomBytes(bytes);
    const path = join(synapse.mediaPath, 'local_content', id.slice(0, 2), id.slice(2, 4), id.slice(4));
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    rows.push(
      `('${id}', 'image/jpeg', ${bytes}, ${createdAt}, '@alice:${synapse.serverName}', '${createHash('sha256').update(content).digest('hex')}')`,
    );
  }
  for (let at = 0; at < rows.length; at += 10_000)
    await sql(
      database,
      `INSERT INTO local_media_repository (media_id, media_type, media_length, created_ts, user_id, sha256) VALUES ${rows.slice(at, at + 10_000).join(', ')}`,
    );
}

/** What another bench has left would be copied with the rest. */
export async function removeMedia({ database, synapse }: World): Promise<void> {
  await sql(database, 'DELETE FROM local_media_repository');
  rmSync(join(synapse.mediaPath, 'local_content'), { recursive: true, force: true });
}
