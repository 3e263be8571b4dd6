import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { text } from 'node:stream/consumers';
import { stringify } from 'yaml';
import { openClient, type MatrixClient } from '../../../kit/client.ts';
import { freePort, startChild, waitUntilReady, type Child } from '../../../kit/process.ts';
import type { Account } from '../../../kit/synapse.ts';
import type { Homeserver, Person } from './homeserver.ts';
import { Seat } from './seat.ts';
import { until } from './until.ts';

const main = resolve(import.meta.dirname, '../../../src/main.ts');
const node = [process.execPath, '--disable-warning=ExperimentalWarning'] as const;

export interface StewardOptions {
  /** Merged over the configuration, section by section. */
  config?: Record<string, Record<string, unknown>>;
  /** More of its section `room`. */
  room?: Record<string, unknown>;
  /** Through the proxy. Default: straight to Synapse. */
  proxied?: boolean;
  /** In an encrypted room, with everybody at a client that encrypts. Default false. */
  encrypted?: boolean;
  /** Default true. */
  start?: boolean;
  /** Default true; else the bot is only invited. */
  joined?: boolean;
}

const encryption = { type: 'm.room.encryption', state_key: '', content: { algorithm: 'm.megolm.v1.aes-sha2' } };
/** As `steward init` makes a room. */
const sound = [
  { type: 'm.room.history_visibility', content: { history_visibility: 'joined' } },
  { type: 'm.room.guest_access', content: { guest_access: 'forbidden' } },
];

/** A command in the shell that is under way. */
interface Shell {
  interrupt: () => void;
  kill: () => void;
  ended: Promise<Shown>;
}

/** What a command in the shell came to. */
export interface Shown {
  /** -1 when a signal ended it. */
  exit: number;
  out: string;
  err: string;
}

/** A record of the audit. */
export interface Recorded {
  seq: number;
  event: string;
  actor: { kind: string; person?: string; user_id?: string; trust?: { kind: string } };
  command?: string;
  tier?: string;
  job_id?: string;
  plan_hash?: string;
  targets?: string[];
  event_id?: string;
  failure?: string;
  duration_ms?: number;
  detail?: Record<string, unknown>;
}

/** A row of the audit: `text` is the record as it lies in the store. */
export interface AuditRow {
  seq: number;
  prev: string;
  hash: string;
  text: string;
  record: Recorded;
}

let installed = 0;

/** Steward as in production: a process of its own, with its own configuration, in an admin room of its own. */
export class Steward {
  readonly dir: string;
  readonly dataDir: string;
  readonly configPath: string;
  readonly logPath: string;
  readonly roomId: string;
  readonly bot: Account;
  /** The bot's account, to look at things as it may. */
  readonly client: MatrixClient;
  readonly alice: Seat;
  readonly bob: Seat;
  readonly carol: Seat;
  readonly #port: number;
  #config: Record<string, Record<string, unknown>>;
  #child: Child | null = null;

  private constructor(
    homeserver: Homeserver,
    dir: string,
    port: number,
    bot: Account,
    roomId: string,
    config: Record<string, Record<string, unknown>>,
    [alice, bob, carol]: readonly [Person, Person, Person],
  ) {
    this.dir = dir;
    this.dataDir = join(dir, 'data');
    this.configPath = join(dir, 'steward.yaml');
    this.logPath = join(dir, 'steward.log');
    this.roomId = roomId;
    this.bot = bot;
    this.client = openClient({ ...bot, url: homeserver.synapse.url });
    const seat = (person: Person): Seat => new Seat(person, roomId, bot.userId);
    this.alice = seat(alice);
    this.bob = seat(bob);
    this.carol = seat(carol);
    this.#port = port;
    this.#config = config;
    mkdirSync(join(dir, 'secrets'), { mode: 0o700 });
    this.putToken(bot.accessToken);
    this.configure({});
  }

  static async install(
    homeserver: Homeserver,
    { config = {}, room = {}, proxied = false, joined = true, encrypted = false }: StewardOptions,
  ): Promise<Steward> {
    installed += 1;
    const { synapse, proxy } = homeserver;
    const people = encrypted
      ? ([await homeserver.secure('alice'), await homeserver.secure('bob'), await homeserver.secure('carol')] as const)
      : ([homeserver.alice, homeserver.bob, homeserver.carol] as const);
    const [alice, bob, carol] = people;
    const bot = await synapse.register({ localpart: `steward${installed}`, admin: true });
    const dir = mkdtempSync(join(tmpdir(), 'steward-'));
    const port = await freePort();
    const roomId = await alice.client.createRoom({
      preset: 'private_chat',
      name: 'Admins',
      invite: [bob.client.userId, carol.client.userId, bot.userId],
      power_level_content_override: { users: { [bot.userId]: 100 }, invite: 50 },
      creation_content: { 'm.federate': false },
      initial_state: [...sound, ...(encrypted ? [encryption] : [])],
    });
    for (const { client } of [bob, carol]) await client.join(roomId);
    const owner = (person: Person): object => ({ user_ids: [person.client.userId], roles: ['owner'] });
    const settings = {
      homeserver: {
        url: proxied ? proxy.url : synapse.url,
        server_name: synapse.serverName,
        user_id: bot.userId,
        access_token_file: 'secrets/token',
      },
      // carol is in the room and is nobody: what a guard would tell of is let be.
      room: { id: roomId, expect: { members: [carol.client.userId] }, ...room },
      people: { alice: owner(alice), bob: owner(bob) },
      http: { listen: `127.0.0.1:${port}` },
      log: { level: 'debug' },
      ...config,
    };
    const steward = new Steward(homeserver, dir, port, bot, roomId, settings, people);
    if (joined) await steward.client.join(roomId);
    return steward;
  }

  /** Writes the configuration again with these sections in place of what they were; it is in force after `reload` or a start. */
  configure(sections: Record<string, Record<string, unknown>>): void {
    this.#config = { ...this.#config, ...sections };
    writeFileSync(this.configPath, stringify({ data_dir: 'data', ...this.#config }));
  }

  putToken(token: string): void {
    this.putSecret('token', token);
  }

  /** A file beside the configuration, mode 0600. */
  putSecret(name: string, value: string): void {
    writeFileSync(join(this.dir, 'secrets', name), value, { mode: 0o600 });
  }

  /** Starts it and waits until it is ready, or only until it is alive. @param wrap words before the command */
  async start(until: 'ready' | 'alive' = 'ready', wrap: readonly string[] = [], options: readonly string[] = []): Promise<void> {
    const [program = '', ...words] = [...wrap, ...node, main, 'run', '--config', this.configPath, ...options];
    this.#child = await startChild({
      command: [program, ...words],
      logPath: this.logPath,
      cwd: this.dir,
    });
    await waitUntilReady(
      'Steward',
      this.#child,
      this.logPath,
      async () => (await this.health(until === 'ready' ? 'readyz' : 'livez')).status === 200,
      20_000,
    );
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  get isRunning(): boolean {
    return this.#child?.isRunning ?? false;
  }

  async stop(): Promise<void> {
    await this.#child?.stop(30_000);
  }

  async kill(): Promise<void> {
    await this.#child?.kill();
  }

  reload(): void {
    process.kill(this.pid, 'SIGHUP');
  }

  /** Sends SIGHUP and waits until the file was read. */
  async reread(): Promise<void> {
    const before = this.log.length;
    this.reload();
    await until(() => /read again|cannot be read again/.test(this.log.slice(before)), 5000, 'the configuration is read');
  }

  async health(path: 'livez' | 'readyz' | 'metrics'): Promise<{ status: number; body: string }> {
    const answer = await fetch(`http://127.0.0.1:${this.#port}/${path}`);
    return { status: answer.status, body: await answer.text() };
  }

  async becomes(status: 200 | 503, ms = 20_000): Promise<void> {
    await until(async () => (await this.health('readyz')).status === status, ms, `/readyz says ${status}`);
  }

  /** Everything it has written to its log. */
  get log(): string {
    return readFileSync(this.logPath, 'utf8');
  }

  /** The generated password that lies on the host for an account, or null. */
  password(localpart: string): string | null {
    const path = join(this.dataDir, 'secrets', `${localpart}_${this.bot.userId.slice(this.bot.userId.indexOf(':') + 1)}.txt`);
    return existsSync(path) ? (/^Password: (.*)$/m.exec(readFileSync(path, 'utf8'))?.[1] ?? '') : null;
  }

  /** The audit as it lies in the store. */
  audit(): AuditRow[] {
    const database = new DatabaseSync(join(this.dataDir, 'steward.db'), { readOnly: true, timeout: 5000 });
    const rows = database.prepare('SELECT seq, prev, hash, record FROM audit ORDER BY seq').all();
    database.close();
    return rows.map(({ seq, prev, hash, record }) => ({
      ...{ seq: Number(seq), prev: String(prev), hash: String(hash), text: String(record) },
      record: JSON.parse(String(record)) as Recorded,
    }));
  }

  /** A command in the shell, to its end. */
  async shell(...words: string[]): Promise<Shown> {
    return this.startShell(...words).ended;
  }

  /** A command in the shell that may be interrupted as by Ctrl-C, or killed. */
  startShell(...words: string[]): Shell {
    return this.#spawnShell({}, words);
  }

  /** A command in the shell with more in its environment, to its end; exit -1 where it was killed. */
  async shellWith(env: Record<string, string>, ...words: string[]): Promise<Shown> {
    return this.#spawnShell(env, words).ended;
  }

  #spawnShell(env: Record<string, string>, words: readonly string[]): Shell {
    const [program, ...first] = node;
    const child = spawn(program, [...first, main, ...words, '--config', this.configPath], {
      cwd: this.dir,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      // One that should have been refused and runs on is no reason to wait for ever.
      timeout: 40_000,
      killSignal: 'SIGKILL',
    });
    const exit = new Promise<number>((done) =>
      child.once('close', (code) => {
        done(code ?? -1);
      }),
    );
    return {
      interrupt: () => child.kill('SIGINT'),
      kill: () => child.kill('SIGKILL'),
      ended: Promise.all([text(child.stdout), text(child.stderr), exit]).then(([out, err, code]) => ({ exit: code, out, err })),
    };
  }

  async dispose(): Promise<void> {
    await this.kill();
    rmSync(this.dir, { recursive: true, force: true });
  }
}
