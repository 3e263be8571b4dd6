import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { sql, startPostgres, type Database, type Postgres } from '../../../kit/postgres.ts';
import { synapseControl, type SynapseControl } from '../../../kit/synapse-control.ts';
import { startSynapse, type Account, type Synapse } from '../../../kit/synapse.ts';
import { Reloadable } from '../../../src/config/reloadable.ts';
import { openCore, type Core } from '../../../src/core.ts';
import { silentLog } from '../../../src/telemetry/log.ts';
import { answers } from './answers.ts';
import { runLine, type ShellReply } from './core-shell.ts';
import { until } from './until.ts';

/** A real Synapse on a real PostgreSQL that Steward may stop and start, and a Steward with a role of its own there. */
export class RestoreWorld {
  readonly dir: string;
  readonly postgres: Postgres;
  readonly database: Database;
  readonly synapse: Synapse;
  readonly control: SynapseControl;
  readonly alice: Account;
  #core: Core | null = null;

  private constructor(parts: Pick<RestoreWorld, 'dir' | 'postgres' | 'database' | 'synapse' | 'control' | 'alice'>) {
    ({
      dir: this.dir,
      postgres: this.postgres,
      database: this.database,
      synapse: this.synapse,
      control: this.control,
      alice: this.alice,
    } = parts);
  }

  /** @param postgresDir where the database server has its data; `mount` is called with the folder that Synapse will have */
  static async open({ postgresDir, mount }: { postgresDir?: string; mount?: (home: string) => void } = {}): Promise<RestoreWorld> {
    const dir = mkdtempSync(join(tmpdir(), 'restore-'));
    const postgres = await startPostgres(postgresDir === undefined ? {} : { dir: postgresDir });
    const database = await postgres.createDatabase({ name: 'synapse' });
    const home = join(dir, 'synapse');
    mount?.(home);
    const synapse = await startSynapse({
      dir: home,
      database: { postgres: database },
      serverName: 'example.org',
      config: { pid_file: join(home, 'homeserver.pid') },
    });
    const alice = await synapse.register({ localpart: 'alice', admin: true });
    await synapse.stop();
    // As `server config` asks for it: Steward's role owns nothing itself.
    const password = await postgres.createRole('steward', { createdb: true });
    await sql(postgres.superuser, 'GRANT synapse TO steward; GRANT pg_signal_backend TO steward;');
    const world = new RestoreWorld({ dir, postgres, database, synapse, control: await synapseControl(home), alice });
    await world.start();
    for (const name of ['admin', 'own']) spawnSync('age-keygen', ['-o', join(dir, `${name}.key`)]);
    writeFileSync(join(dir, 'token'), alice.accessToken, { mode: 0o600 });
    writeFileSync(join(dir, 'database-password'), password, { mode: 0o600 });
    return world;
  }

  get disk(): string {
    return join(this.dir, 'disk');
  }

  recipient(name: string): string {
    return /age1[a-z0-9]+/.exec(readFileSync(join(this.dir, `${name}.key`), 'utf8'))?.[0] ?? '';
  }

  /** Steward's configuration, written for the next `core`. */
  configure(more: Record<string, unknown> = {}): void {
    const config = {
      data_dir: 'data',
      homeserver: { url: this.synapse.url, server_name: 'example.org', user_id: this.alice.userId, access_token_file: 'token' },
      stack: {
        homeserver_config: [this.synapse.configPath],
        database: { user: 'steward', password_file: 'database-password' },
        components: { synapse: this.control },
      },
      backup: {
        destinations: { disk: { directory: this.disk } },
        keys: { recipients: [this.recipient('admin')], identity_file: 'own.key' },
      },
      approval: { mode: 'single', countdown_single: '1s' },
      ...more,
    };
    writeFileSync(this.configPath, stringify(config));
  }

  get configPath(): string {
    return join(this.dir, 'steward.yaml');
  }

  async core(): Promise<Core> {
    if (!existsSync(this.configPath)) this.configure();
    this.#core ??= await openCore(new Reloadable(this.configPath, {}), silentLog);
    return this.#core;
  }

  closeCore(): void {
    this.#core?.close();
    this.#core = null;
  }

  /** A line as in the shell, with yes to every prompt, and without anybody's approval. */
  async steward(line: string, secrets: Record<string, string> = {}): Promise<ShellReply> {
    return runLine(await this.core(), line, { secrets, breakGlass: 'test' });
  }

  /** @returns the media id */
  async upload(content: string | Buffer): Promise<string> {
    const answer = await fetch(`${this.synapse.url}/_matrix/media/v3/upload?filename=file.txt`, {
      method: 'POST',
      headers: { authorization: `Bearer ${this.alice.accessToken}`, 'content-type': 'text/plain' },
      body: new Blob([content]),
    });
    return ((await answer.json()) as { content_uri: string }).content_uri.split('/').at(-1) ?? '';
  }

  mediaFile(id: string): string {
    return join(this.synapse.mediaPath, 'local_content', id.slice(0, 2), id.slice(2, 4), id.slice(4));
  }

  run(command: readonly string[]): { status: number | null; out: string } {
    const [program = '', ...args] = command;
    const { status, stdout } = spawnSync(program, args, { encoding: 'utf8' });
    return { status, out: stdout.trim() };
  }

  /** The process id of Synapse, or null. */
  get pid(): string | null {
    const { status, out } = this.run(this.control.status);
    return status === 0 ? out : null;
  }

  answers(): Promise<boolean> {
    return answers(this.synapse.url);
  }

  async start(): Promise<void> {
    if (this.pid === null) this.run(this.control.start);
    await until(() => this.answers(), 60_000, 'Synapse answers');
  }

  async stop(): Promise<void> {
    if (this.pid !== null) this.run(this.control.stop);
    await until(() => this.pid === null, 60_000, 'Synapse is stopped');
  }

  /** Rows of every table of a database, hashed by PostgreSQL, but for one-time keys, which never come back, what an idle server writes, and the name of an erased probe user. */
  async oracle(name = 'synapse'): Promise<string> {
    const at = { ...this.postgres.superuser, name };
    const quiet = [
      ...['e2e_one_time_keys_json', 'user_daily_visits', 'user_ips', 'devices', 'access_tokens', 'instance_map', 'scheduled_tasks'],
      ...['cache_invalidation_stream_by_instance', 'worker_locks', 'worker_read_write_locks', 'background_updates'],
      // How far streams are, which any login moves on.
      ...['stream_positions', 'device_lists_changes_converted_stream_position'],
      ...['event_push_summary_stream_ordering', 'event_push_summary_last_receipt_stream_id'],
      ...['room_forgetter_stream_pos', 'delayed_events_stream_pos', 'user_directory_stream_pos', 'stats_incremental_position'],
    ];
    const tables = (await sql(at, `SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1`))
      .trim()
      .split('\n')
      .filter((table) => !quiet.includes(table));
    const each = tables.map(
      (table) =>
        `SELECT '${table}', count(*), md5(coalesce(string_agg(t::text, E'\\n' ORDER BY t::text), '')) FROM "${table}" t WHERE t::text NOT LIKE '%@steward-probe-%'`,
    );
    return sql(at, `${each.join(' UNION ALL ')} ORDER BY 1`);
  }

  /** The same when Synapse has written what it had in hand: two in a row that are equal. */
  async settledOracle(): Promise<string> {
    let last = '';
    return until(
      async () => {
        const now = await this.oracle();
        const isQuiet = now === last;
        last = now;
        return isQuiet && now;
      },
      30_000,
      'a quiet database',
    );
  }

  /** Every file of media with its hash. */
  mediaTree(): string {
    return spawnSync('sh', ['-c', 'find . -type f -exec sha256sum {} + | sort'], { cwd: this.synapse.mediaPath }).stdout.toString();
  }

  async databases(): Promise<string[]> {
    const names = await sql(this.postgres.superuser, `SELECT datname FROM pg_database WHERE datname LIKE 'synapse%' ORDER BY 1`);
    return names.trim().split('\n');
  }

  /** What restores hold aside on the disk. */
  aside(): string[] {
    const beside = readdirSync(this.synapse.dir).filter((name) => name.includes('restore-') || name.includes('steward-partial'));
    const own = join(this.dir, 'data/restores');
    return [...beside, ...(existsSync(own) ? readdirSync(own) : [])];
  }

  /** Live files of the homeserver that are no media, hashed. */
  files(): string {
    return ['homeserver.yaml', 'signing.key', 'log.yaml', 'registration_shared_secret', 'macaroon_secret_key', 'form_secret']
      .map(
        (name) =>
          `${name} ${createHash('sha256')
            .update(readFileSync(join(this.synapse.dir, name)))
            .digest('hex')}`,
      )
      .join('\n');
  }

  async dispose(): Promise<void> {
    this.closeCore();
    if (this.pid !== null) this.run(this.control.stop);
    await until(() => this.pid === null, 30_000, 'Synapse is stopped').catch(() => undefined);
    await this.synapse.dispose();
    await this.postgres.dispose();
    rmSync(this.dir, { recursive: true, force: true });
  }
}
