import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { buffer as whole } from 'node:stream/consumers';
import { stringify } from 'yaml';
import type { Clock } from '../../clock.ts';
import type { Secret } from '../../config/secret.ts';
import { Failure } from '../../failures/failure.ts';
import type { BootOptions, ScratchHomeserver } from '../stack.ts';
import { statusOf, unitProgram, type ComponentSettings } from './components.ts';

/** A scratch database as the homeserver is told of it. */
export type ScratchPlace = { kind: 'sqlite'; path: string } | { kind: 'postgres'; host: string; port: number; name: string; user: string };

export interface ScratchSynapseOptions extends BootOptions {
  /** A Python that has Synapse. */
  python: string;
  database: ScratchPlace;
  /** Folder that its own is made in. */
  dir: string;
  clock: Clock;
  signal: AbortSignal;
}

/** Milliseconds: on an older copy it brings the schema up to its own version first. */
const startBound = 900_000;
const askBound = 60_000;
const lookEvery = 200;
const answerAtMost = 16 << 20;

/**
 * Starts the server when it is told that the folder is filled; ends it and removes the folder when Steward goes, even by SIGKILL: then standard input ends. The server alone holds the
 * fourth descriptor, which tells that it has ended.
 */
const guarded = `
dir=$1; shift
read go || { rm -rf "$dir"; exit; }
"$@" </dev/null >"$dir/log" 2>&1 &
server=$!
exec 3>&-
cat >/dev/null
kill -KILL $server 2>/dev/null
wait $server
rm -rf "$dir"
`;

/** A network of its own, in which there is no way to anywhere, not even to this machine. */
const ownNetwork = process.getuid?.() === 0 ? ['unshare', '--net'] : ['unshare', '--user', '--map-root-user', '--net'];

/**
 * Synapse on a database that is thrown away: it listens on a socket in a closed folder alone, has a signing key and secrets that
 * were made for it, and knows no other server, mail, push, application service or module.
 *
 * @throws Failure `stack.no-isolation`, `backup.not-proven`
 */
export async function startScratchSynapse(options: ScratchSynapseOptions): Promise<ScratchHomeserver> {
  const { python, dir, clock, signal } = options;
  await assertAlone('start Synapse on the copy');
  // From here to the guard there is no moment at which a kill could leave it.
  const home = mkdtempSync(join(dir, 'steward-drill-'));
  const socket = join(home, 'socket');
  try {
    const words = [...ownNetwork, python, '-m', 'synapse.app.homeserver', '--config-path', join(home, 'homeserver.yaml')];
    const guard = spawn('/bin/sh', ['-c', guarded, 'sh', home, ...words], {
      cwd: home,
      // Nothing of what Steward itself was given.
      env: { PATH: process.env['PATH'], LANG: 'C.UTF-8', HOME: home },
      stdio: ['pipe', 'ignore', 'ignore', 'pipe'],
      detached: true,
    });
    // It may have ended before it is told anything.
    guard.stdin?.on('error', () => undefined);
    const gone = new Promise<void>((resolve) => guard.once('close', () => resolve()).once('error', () => resolve()));
    let isOver = false;
    const life = guard.stdio[3] as Readable;
    life.resume().once('close', () => (isOver = true));
    const close = async (): Promise<void> => {
      guard.stdin?.destroy();
      await gone;
      await rm(home, { recursive: true, force: true });
    };
    try {
      await writeHome(home, socket, options);
      guard.stdin?.write('go\n');
      await answers({ home, socket, isOver: () => isOver, clock, signal });
    } catch (error) {
      await close();
      throw error;
    }
    return {
      isolation: 'in a network of its own without a way out',
      ask: (asked) => ask(socket, asked),
      close,
    };
  } catch (error) {
    await rm(home, { recursive: true, force: true });
    throw error;
  }
}

async function writeHome(home: string, socket: string, { database, serverName, registrationSecret, media }: ScratchSynapseOptions) {
  const at = (name: string): string => join(home, name);
  const config = {
    server_name: serverName,
    listeners: [{ path: socket, type: 'http', resources: [{ names: ['client'], compress: false }] }],
    database:
      database.kind === 'sqlite'
        ? { name: 'sqlite3', args: { database: database.path } }
        : {
            name: 'psycopg2',
            args: { host: database.host, port: database.port, user: database.user, dbname: database.name, cp_min: 1, cp_max: 4 },
          },
    log_config: at('log.yaml'),
    media_store_path: at('media'),
    signing_key_path: at('signing.key'),
    registration_shared_secret: registrationSecret.reveal(),
    macaroon_secret_key: randomBytes(32).toString('hex'),
    form_secret: randomBytes(32).toString('hex'),
    report_stats: false,
    // Nobody is told anything, and nobody asked.
    send_federation: false,
    start_pushers: false,
    federation_domain_whitelist: [],
    trusted_key_servers: [],
    suppress_key_server_warning: true,
    url_preview_enabled: false,
    enable_registration: false,
    presence: { enabled: false },
    pid_file: at('pid'),
  };
  const logging = {
    version: 1,
    handlers: { stderr: { class: 'logging.StreamHandler' } },
    root: { level: 'WARNING', handlers: ['stderr'] },
    disable_existing_loggers: false,
  };
  await writeFile(at('homeserver.yaml'), stringify(config), { mode: 0o600 });
  await writeFile(at('log.yaml'), stringify(logging), { mode: 0o600 });
  await writeFile(at('signing.key'), `ed25519 a_drill ${randomBytes(32).toString('base64').replaceAll('=', '')}\n`, { mode: 0o600 });
  await mkdir(at('media'), { mode: 0o700 });
  for (const { path, content } of media) {
    await mkdir(dirname(join(at('media'), path)), { recursive: true });
    await writeFile(join(at('media'), path), content);
  }
}

/** @throws Failure `backup.not-proven` when it ends before it answers */
async function answers({ home, socket, isOver, clock, signal }: Starting): Promise<void> {
  const deadline = clock.monotonic() + startBound;
  for (;;) {
    signal.throwIfAborted();
    const ended = isOver() || clock.monotonic() > deadline;
    const healthy = await ask(socket, { method: 'GET', path: '/health' }).then(
      ({ status }) => status === 200,
      () => false,
    );
    if (healthy) return;
    if (ended) {
      const said = (await readFile(join(home, 'log'), 'utf8').catch(() => '')).trim().split('\n').at(-1) ?? '';
      throw new Failure('backup.not-proven', {
        attempted: 'start Synapse on the copy',
        reason: said === '' ? 'it does not answer' : said.slice(0, 300),
      });
    }
    await clock.sleep(lookEvery, signal);
  }
}

interface Starting {
  home: string;
  socket: string;
  /** Whether it has ended. */
  isOver: () => boolean;
  clock: Clock;
  signal: AbortSignal;
}

function ask(
  socketPath: string,
  { method, path, token, body }: { method: string; path: string; token?: Secret; body?: object },
): ReturnType<ScratchHomeserver['ask']> {
  return new Promise((resolve, reject) => {
    const content = body === undefined ? undefined : JSON.stringify(body);
    const headers = {
      host: 'localhost',
      connection: 'close',
      'x-forwarded-for': '127.0.0.1',
      ...(content === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(content) }),
      ...(token === undefined ? {} : { authorization: `Bearer ${token.reveal()}` }),
    };
    const asked = request({ socketPath, method, path, headers, timeout: askBound }, (answer) => {
      if (Number(answer.headers['content-length'] ?? 0) > answerAtMost) answer.destroy(new Error('an answer that is far too large'));
      whole(answer).then((got) => resolve({ status: answer.statusCode ?? 0, json: jsonOf(got), content: got }), reject);
    });
    asked.on('timeout', () => asked.destroy(new Error('no answer')));
    asked.on('error', reject);
    asked.end(content);
  });
}

function jsonOf(content: Buffer): unknown {
  try {
    return JSON.parse(content.toString('utf8'));
  } catch {
    return null;
  }
}

/**
 * Whether this machine gives a process a network of its own. On a copy of real accounts nothing runs in one with a way out.
 *
 * @throws Failure `stack.no-isolation`
 */
export async function assertAlone(attempted: string): Promise<void> {
  const [program, ...words] = [...ownNetwork, 'true'];
  // Found as the guard finds it.
  const asked = spawn(program, words, { env: { PATH: process.env['PATH'] }, stdio: ['ignore', 'ignore', 'pipe'] });
  const said = whole(asked.stderr).catch(() => Buffer.alloc(0));
  const ended = await new Promise<string | null>((resolve) => {
    asked
      .once('close', (code) => resolve(code === 0 ? null : `\`${[program, ...words].join(' ')}\` ends with ${code ?? 'a signal'}`))
      .once('error', ({ message }) => resolve(message));
  });
  if (ended === null) return;
  const heard = (await said).toString('utf8').trim().slice(0, 200);
  throw new Failure('stack.no-isolation', { attempted, reason: heard === '' ? ended : `${ended}: ${heard}` });
}

/** Where Synapse's Debian packages have theirs, with what tells that it is there. */
const packaged = [
  ['/opt/venvs/matrix-synapse/bin/python', '/opt/venvs/matrix-synapse/bin/python'],
  ['/usr/bin/python3', '/usr/lib/python3/dist-packages/synapse'],
] as const;

/** A Python that has Synapse: the configured one, that of a component which runs, or that of a package; null where there is none. */
export async function synapsePython(
  configured: string | undefined,
  components: Readonly<Record<string, ComponentSettings>>,
): Promise<string | null> {
  if (configured !== undefined) return existsSync(configured) ? configured : null;
  for (const [name, settings] of Object.entries(components)) {
    const words = settings.unit === undefined ? await wordsOfProcess(name, settings) : await unitProgram(name, settings.unit);
    const [program] = words;
    if (program?.startsWith('/') === true && words.some((word) => word.startsWith('synapse.app.')) && existsSync(program)) return program;
  }
  return packaged.find(([python, sign]) => existsSync(python) && existsSync(sign))?.[0] ?? null;
}

/** The command line of a process whose id a status command says. */
async function wordsOfProcess(name: string, settings: ComponentSettings): Promise<string[]> {
  if (settings.status === undefined) return [];
  const status = await statusOf(name, settings).catch(() => null);
  if (status?.invocation == null || !/^\d+$/.test(status.invocation)) return [];
  const line = await readFile(`/proc/${status.invocation}/cmdline`, 'utf8').catch(() => '');
  return line.split('\0');
}
