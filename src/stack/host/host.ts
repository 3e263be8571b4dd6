import { mkdir, mkdtemp, readFile, rm, stat, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import type { Clock } from '../../clock.ts';
import type { Secret } from '../../config/secret.ts';
import { Secret as SecretValue } from '../../config/secret.ts';
import { Failure } from '../../failures/failure.ts';
import type {
  BootOptions,
  Capability,
  ComponentStatus,
  DatabaseDump,
  DatabaseFacts,
  Delegation,
  MasDump,
  MasPlace,
  MediaStream,
  RestorePlace,
  ScratchDatabase,
  ScratchHomeserver,
  Snapshot,
  Stack,
  StackFacts,
} from '../stack.ts';
import { compressedOutput, ownOutput, type Producer, type SourceStream } from '../stream.ts';
import { readMasConfig, type HostConfig, type MasConfig, type MasDatabase } from '../mas-config.ts';
import { readSynapseConfig, type SynapseConfig } from '../synapse-config.ts';
import { logsOf, missingControl, restartComponent, startComponent, statusOf, stopComponent, type ComponentSettings } from './components.ts';
import { HostRestores } from './restore.ts';
import { tarOfMedia } from './media.ts';
import {
  connect,
  environmentOf,
  factsOf,
  maintenance,
  majorOf,
  onServer,
  openSnapshot,
  powersOf,
  sizeOf,
  type Access,
} from './postgres.ts';
import { dataFolder, settingsGrant } from './restore-postgres.ts';
import { dumpProgram, hasProgram, inLargePieces, postgresPrograms } from './programs.ts';
import { dumpProgress } from './dump-progress.ts';
import { feedDecompressed } from './feed.ts';
import { startScratchPostgres } from './scratch-postgres.ts';
import { assertAlone, startScratchSynapse, synapsePython, type ScratchPlace } from './scratch-synapse.ts';
import { copySqlite, openSqlite, readerOf, sqliteFacts } from './sqlite.ts';
import { tarOf } from './tar.ts';

export interface HostSettings {
  /** What Synapse is given by `-c`, in order; absolute. */
  homeserverConfig: readonly string[];
  /** What Matrix Authentication Service is given by `--config`, in order; absolute. */
  masConfig?: readonly string[] | undefined;
  /** Where Synapse's relative paths start. */
  workingDir?: string | undefined;
  /** A role of Steward's own, in place of the homeserver's. */
  database?: { user: string; password: Secret } | undefined;
  postgresPrograms?: string | undefined;
  /** Where a PostgreSQL that is thrown away has its data. */
  scratchDir?: string | undefined;
  /** A folder of Steward's own for copies of SQLite files; emptied when Steward starts. */
  copiesDir: string;
  /** A folder of Steward's own for what restores hold aside. */
  restoresDir: string;
  components: Readonly<Record<string, ComponentSettings>>;
  /** A Python that has Synapse, which is started on a copy. */
  synapsePython?: string | undefined;
}

/** Tables whose rows a backup leaves out: handed out twice, a one-time key breaks the encryption of whoever gets it. */
const leftOut = 'e2e_one_time_keys_json';
/** Told where Matrix Authentication Service has the accounts, and Steward does not know where it is. */
const masUnknown: Pick<Capability, 'missing' | 'grant'> = {
  missing: ['Matrix Authentication Service has the accounts, and neither its configuration nor its database is in any backup'],
  grant: ['stack: { mas_config: [/etc/mas/config.yaml] }'],
};
/** What the server knows the dump by. */
const dumpName = 'steward-backup';

/** Of a capability that lacks nothing. */
const nothing: Pick<Capability, 'missing' | 'grant'> = { missing: [], grant: [] };

/** One machine: the homeserver's files and processes are this machine's. */
export class HostStack implements Stack {
  readonly kind = 'host';
  readonly #settings: HostSettings;
  readonly #clock: Clock;

  readonly restores: RestorePlace;

  constructor(settings: HostSettings, clock: Clock) {
    this.#settings = settings;
    this.#clock = clock;
    this.restores = new HostRestores({
      config: () => this.#config(),
      access: (config) => this.#access(config),
      postgresPrograms: settings.postgresPrograms,
      dir: settings.restoresDir,
      clock,
    });
  }

  async facts(): Promise<StackFacts> {
    const config = await this.#config();
    const { database } = config;
    const { serverName, mediaPath, storageProviders, signingKeyPath, configFiles, includedFiles, secretFiles } = config;
    const access = this.#access(config);
    return {
      serverName,
      database: access === null || database.kind === 'sqlite' ? (database as { kind: 'sqlite'; path: string }) : placeOf(access),
      mediaPath,
      storageProviders,
      signingKeyPath,
      configFiles,
      includedFiles,
      secretFiles,
      absentFiles: await absentOf([...includedFiles, ...secretFiles]),
      delegated: config.delegation !== null,
      mas: config.mas === null ? null : masPlaceOf(config.mas),
      freeBytes: await freeBytes(mediaPath),
    };
  }

  async databaseFacts(): Promise<DatabaseFacts> {
    const config = await this.#config();
    const access = this.#access(config);
    if (access === null) return withSqlite(config, (database) => sqliteFacts(database));
    return onServer(access, factsOf);
  }

  async capabilities(): Promise<Capability[]> {
    const config = await this.#config();
    const access = this.#access(config);
    const absent = await absentOf([config.mediaPath, ...config.includedFiles, ...config.secretFiles]);
    const unreadable = (await this.#unreadable(config)).filter((path) => !absent.includes(path));
    const components = Object.entries(this.#settings.components);
    const grantFiles = unreadable.map((path) => `setfacl -m u:${process.env['USER'] ?? 'steward'}:r ${path}`);
    const dump: Capability = {
      name: 'dump',
      granted: true,
      missing: [...unreadable.map((path) => `${path} cannot be read`), ...absent.map((path) => `${path} is not there`)],
      grant: [
        ...grantFiles,
        ...(absent.length === 0 ? [] : ['stack: { working_dir: FOLDER }  # where relative paths of homeserver.yaml start']),
      ],
    };
    for (const { missing, grant } of await this.#masPowers(config))
      Object.assign(dump, { missing: [...dump.missing, ...missing], grant: [...dump.grant, ...grant] });
    const restore: Capability = { name: 'restore', granted: true, missing: [], grant: [] };
    const without: Pick<Capability, 'missing' | 'grant'> = access === null ? nothing : await this.#addPowers(access, dump, restore);
    for (const [name, settings] of components) {
      const key = missingControl(settings);
      if (key === null) continue;
      restore.missing = [...restore.missing, `${name} cannot be stopped and started`];
      restore.grant = [...restore.grant, `stack: { components: { ${name}: { ${key}: […] } } }`];
    }
    return [
      { name: 'observe', granted: true, missing: [], grant: [] },
      { ...dump, granted: dump.missing.length === 0 },
      {
        name: 'restore',
        granted: restore.missing.length === 0,
        missing: [...restore.missing, ...without.missing],
        grant: [...restore.grant, ...without.grant],
      },
      components.length > 0
        ? { name: 'control', granted: true, missing: [], grant: [] }
        : {
            name: 'control',
            granted: false,
            missing: ['no component is configured'],
            grant: ['stack: { components: { synapse: { unit: matrix-synapse.service } } }'],
          },
    ];
  }

  async components(): Promise<ComponentStatus[]> {
    return Promise.all(Object.entries(this.#settings.components).map(([name, settings]) => statusOf(name, settings)));
  }

  async logs(component: string, lines: number): Promise<string> {
    return logsOf(component, this.#component(component), lines);
  }

  async restart(component: string, signal: AbortSignal): Promise<void> {
    await restartComponent(component, this.#component(component), signal);
  }

  async stop(component: string, signal: AbortSignal): Promise<void> {
    await stopComponent(component, this.#component(component), this.#clock, signal);
  }

  async start(component: string, signal: AbortSignal): Promise<void> {
    await startComponent(component, this.#component(component), signal);
  }

  async registrationSecret(): Promise<SecretValue | null> {
    const { registration } = await this.#config();
    return registration === null ? null : this.#secretIn(registration);
  }

  async delegation(): Promise<Delegation | null> {
    const shared = (await this.#config()).delegation?.shared ?? null;
    if (shared === null) return null;
    try {
      return { endpoint: shared.endpoint, secret: await this.#secretIn(shared.secret) };
    } catch (error) {
      if (error instanceof Failure && error.id === 'stack.file-unreadable') return null;
      throw error;
    }
  }

  async #secretIn(from: { secret: SecretValue } | { path: string }): Promise<SecretValue> {
    return 'secret' in from ? from.secret : new SecretValue((await this.readFile(from.path)).toString('utf8').trim());
  }

  async dumpDatabase(signal: AbortSignal): Promise<DatabaseDump> {
    const config = await this.#config();
    const access = this.#access(config);
    const zstd = await hasProgram('zstd');
    const level = compressionBy(zstd);
    if (access === null) {
      const copy = await copySqlite((config.database as { path: string }).path, this.#settings.copiesDir);
      const stream = compressedOutput({ name: 'cat', command: ['cat', copy.path] }, zstd, signal);
      return { stream, snapshot: copy, format: 'sqlite', pipeline: ['SQLite online backup', level], progress: () => Promise.resolve(null) };
    }
    const { snapshot, producer } = await this.#pgDump(access, await onServer(access, majorOf), [`--exclude-table-data=${leftOut}`]);
    const stream = compressedOutput(producer, zstd, signal);
    const pipeline = [`pg_dump -Fc -Z0 --exclude-table-data=${leftOut}`, level];
    return { stream, snapshot, format: 'pg_dump', pipeline, progress: () => dumpProgress(access, dumpName) };
  }

  async assertMas(): Promise<void> {
    const { mas } = await this.#config();
    if (mas !== null) await onServer(await this.#masAccess(mas), majorOf);
  }

  async dumpMas(signal: AbortSignal): Promise<MasDump | null> {
    const { mas } = await this.#config();
    if (mas === null) return null;
    const access = await this.#masAccess(mas);
    const { major, bytes } = await onServer(access, sizeOf);
    const zstd = await hasProgram('zstd');
    const { snapshot, producer } = await this.#pgDump(access, major, []);
    const pipeline = ['pg_dump -Fc -Z0', compressionBy(zstd)];
    return { stream: compressedOutput(producer, zstd, signal), snapshot, pipeline, major, bytes };
  }

  async #pgDump(access: Access, major: number, more: readonly string[]): Promise<{ snapshot: Snapshot; producer: Producer }> {
    const program = dumpProgram(this.#settings.postgresPrograms, major);
    const snapshot = await openSnapshot(access);
    const options = ['-Fc', '-Z0', '--no-password', ...more, '--lock-wait-timeout=60s', `--snapshot=${snapshot.id}`];
    const { host, port, user, name } = access;
    // The options of the homeserver's connections are left out: pg_dump looks into every schema, and a limit of time is not for it.
    const producer = {
      name: 'pg_dump',
      command: await inLargePieces([program, ...options, '-h', host, '-p', String(port), '-U', user, '-d', name]),
      env: { PGAPPNAME: dumpName, ...environmentOf(access) },
    };
    return { snapshot, producer };
  }

  async openSnapshot(): Promise<Snapshot> {
    const config = await this.#config();
    const access = this.#access(config);
    if (access !== null) return openSnapshot(access);
    const database = openSqlite((config.database as { path: string }).path, true);
    return {
      ...readerOf(database),
      close: () => {
        if (database.isOpen) database.close();
        return Promise.resolve();
      },
    };
  }

  tarMedia(mediaPath: string, ids: AsyncIterable<string>, signal: AbortSignal): MediaStream {
    return tarOfMedia(mediaPath, ids, signal);
  }

  tarFiles(paths: readonly string[], signal: AbortSignal): SourceStream {
    const inputs = [...new Set(paths)].map((path) => ({ path, name: path.replace(/^\/+/, '') }));
    return ownOutput('tar', () => tarOf(inputs), signal);
  }

  async readFile(path: string): Promise<Buffer> {
    return readFile(path).catch((error: unknown) => {
      throw new Failure('stack.file-unreadable', {
        attempted: `read ${path}`,
        reason: `it cannot be opened (${(error as NodeJS.ErrnoException).code ?? 'unknown'})`,
        cause: error,
      });
    });
  }

  async readDump(
    format: DatabaseDump['format'],
    data: AsyncIterable<Uint8Array>,
    major: number | null,
    signal: AbortSignal,
  ): Promise<void> {
    if (format === 'sqlite') {
      await feedDecompressed({ reader: { name: 'cat', command: ['cat'] }, data, signal });
      return;
    }
    const program = dumpProgram(this.#settings.postgresPrograms, major ?? 0).replace(/pg_dump$/, 'pg_restore');
    await feedDecompressed({ reader: { name: 'pg_restore', command: [program, '-f', '/dev/null'] }, data, signal });
  }

  async openScratch(
    format: DatabaseDump['format'],
    { major, bytes }: Pick<DatabaseFacts, 'major' | 'bytes'>,
    signal: AbortSignal,
  ): Promise<{ scratch: ScratchDatabase } | { scratch: null; reason: string }> {
    const dir = format === 'sqlite' ? this.#settings.copiesDir : this.#scratchDir;
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const free = await freeBytes(dir);
    // Loaded, a database is no larger than the live one; its indexes want room to be sorted in.
    if (free !== null && free < bytes * 1.3)
      return { scratch: null, reason: `${dir} has ${free} bytes free, and the database has ${bytes}` };
    const boot: Boot = (database, options, during) => this.#boot(database, options, during);
    if (format === 'sqlite') return { scratch: toldWhenFull(await openScratchSqlite(dir, boot), dir) };
    const programs = postgresPrograms(this.#settings.postgresPrograms, major ?? 0, 'initdb');
    if (programs === null) return { scratch: null, reason: noServer(major) };
    return { scratch: toldWhenFull(await startScratchPostgres({ boot, programs, dir, clock: this.#clock, signal }), dir) };
  }

  async missingForBoot(format: DatabaseDump['format'], major: number | null): Promise<string | null> {
    if (format === 'pg_dump' && postgresPrograms(this.#settings.postgresPrograms, major ?? 0, 'initdb') === null) return noServer(major);
    if ((await this.#python()) === null) return 'there is no Synapse here that could be started';
    await assertAlone('start Synapse on a copy');
    return null;
  }

  #python(): Promise<string | null> {
    return synapsePython(this.#settings.synapsePython, this.#settings.components);
  }

  async #boot(database: ScratchPlace, options: BootOptions, signal: AbortSignal): Promise<ScratchHomeserver> {
    const python = await this.#python();
    if (python === null)
      throw new Failure('stack.no-program', {
        attempted: 'start Synapse on the copy',
        hint: 'Name a Python that has Synapse in `stack.synapse_python`.',
      });
    await mkdir(this.#scratchDir, { recursive: true, mode: 0o700 });
    return startScratchSynapse({ ...options, python, database, dir: this.#scratchDir, clock: this.#clock, signal });
  }

  get #scratchDir(): string {
    return this.#settings.scratchDir ?? tmpdir();
  }

  #component(name: string): ComponentSettings {
    const settings = this.#settings.components[name];
    if (settings !== undefined) return settings;
    const known = Object.keys(this.#settings.components);
    throw new Failure('stack.no-component', {
      attempted: `use the component ${name}`,
      ...(known.length === 0 ? { reason: 'no component is configured' } : { reason: `there are ${known.join(', ')}` }),
    });
  }

  /** Of Matrix Authentication Service the files are among the others. */
  async #config(): Promise<HostConfig> {
    const { homeserverConfig, workingDir, masConfig } = this.#settings;
    const config = await readSynapseConfig(homeserverConfig, workingDir ?? dirname(homeserverConfig[0] ?? '.'));
    if (masConfig === undefined) return { ...config, mas: null };
    const mas = await readMasConfig(masConfig);
    return {
      ...config,
      mas,
      includedFiles: [...config.includedFiles, ...mas.configFiles],
      secretFiles: [...config.secretFiles, ...mas.secretFiles],
    };
  }

  async #masPowers({ mas, delegation }: HostConfig): Promise<Pick<Capability, 'missing' | 'grant'>[]> {
    if (mas === null) return delegation === null ? [] : [masUnknown];
    try {
      const access = await this.#masAccess(mas);
      const [power = nothing] = await onServer(access, (client) => powersOf(client, access));
      return [power];
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      return [{ missing: [`the database of Matrix Authentication Service cannot be reached: ${error.reason}`], grant: [] }];
    }
  }

  /** Its own role reads what it owns. @throws Failure `stack.file-unreadable`, `stack.config-unreadable` */
  async #masAccess({ database }: MasConfig): Promise<Access> {
    const { host, port, name, user, options, tls, refused } = database;
    if (refused !== null) throw refused;
    return { host, port, name, user, password: await this.#masPassword(database), owner: user, options, tls };
  }

  async #masPassword({ password, passwordFile }: MasDatabase): Promise<SecretValue | null> {
    if (passwordFile !== null) return this.#secretIn({ path: passwordFile });
    return password === null ? null : new SecretValue(password);
  }

  /** Null for SQLite. */
  #access({ database }: SynapseConfig): Access | null {
    if (database.kind === 'sqlite') return null;
    const own = this.#settings.database;
    const password = own?.password ?? (database.password === null ? null : new SecretValue(database.password));
    return {
      host: database.host,
      port: database.port,
      name: database.name,
      user: own?.user ?? database.user,
      password,
      owner: database.user,
      options: database.options,
      // The homeserver's certificate and key are its role's, and nobody else's to read.
      tls: own === undefined ? database.tls : { mode: database.tls.mode, rootCert: database.tls.rootCert },
    };
  }

  /** @returns what a restore does without */
  async #addPowers(
    access: Access,
    dump: Capability,
    restore: Capability,
    at = access.name,
  ): Promise<Pick<Capability, 'missing' | 'grant'>> {
    let client;
    try {
      client = await connect({ ...access, name: at });
    } catch (error) {
      const reason = (error as Failure).reason;
      Object.assign(dump, { missing: [...dump.missing, `the database cannot be reached: ${reason}`] });
      // 3D000: there is none, as where it was dropped. It can be restored all the same.
      if (((error as Failure).cause as { code?: string } | undefined)?.code === '3D000' && at === access.name)
        return this.#addPowers(access, { ...dump }, restore, maintenance);
      Object.assign(restore, { missing: [`the database cannot be reached: ${reason}`] });
      return nothing;
    }
    try {
      const [forDump, forRestore] = await powersOf(client, access);
      Object.assign(dump, { missing: [...dump.missing, ...(forDump?.missing ?? [])], grant: [...dump.grant, ...(forDump?.grant ?? [])] });
      Object.assign(restore, forRestore);
      if (!(await dataFolder(client)).grant) return nothing;
      return {
        missing: [`${access.user} may not ask where the database lies: whether there is room for a restore is not seen before it`],
        grant: [settingsGrant(access)],
      };
    } finally {
      await client.end();
    }
  }

  /** What a backup must read and this process cannot. */
  async #unreadable(config: SynapseConfig): Promise<string[]> {
    const paths = [config.signingKeyPath, ...config.includedFiles, ...config.secretFiles];
    const checks = await Promise.all(
      paths.map((path) =>
        readFile(path).then(
          () => null,
          () => path,
        ),
      ),
    );
    const folder = await statfs(config.mediaPath).then(
      () => null,
      () => config.mediaPath,
    );
    return [...checks, folder].filter((path) => path !== null);
  }
}

/** @param zstd whether the program is there */
const compressionBy = (zstd: boolean): string => (zstd ? 'zstd -2 -T2' : 'zstd level 2 (node:zlib)');

const masPlaceOf = ({ database: { host, port, name, user } }: MasConfig): MasPlace => ({
  kind: 'postgres',
  host,
  port,
  name,
  user,
});

const placeOf = ({ host, port, name, user, owner }: Access): StackFacts['database'] => ({
  kind: 'postgres',
  host,
  port,
  name,
  user,
  owner,
});

/** Those at which there is nothing, as far as that can be seen. */
async function absentOf(paths: readonly string[]): Promise<string[]> {
  const looks = await Promise.all(
    paths.map((path) =>
      stat(path).then(
        () => false,
        (error: unknown) => /^(ENOENT|ENOTDIR)$/.test((error as NodeJS.ErrnoException).code ?? ''),
      ),
    ),
  );
  return paths.filter((_path, index) => looks[index] === true);
}

async function freeBytes(path: string): Promise<number | null> {
  const stats = await statfs(path).catch(() => null);
  return stats === null ? null : stats.bavail * stats.bsize;
}

function withSqlite<T>(config: SynapseConfig, work: (database: DatabaseSync) => T): T {
  const database = openSqlite((config.database as { path: string }).path, true);
  try {
    return work(database);
  } finally {
    database.close();
  }
}

/** Bytes: where fewer are free, a load that failed may have failed for that. */
const fullBelow = 32 << 20;

/** A load that ended because the disk is full is no fault of what was loaded. */
function toldWhenFull(scratch: ScratchDatabase, dir: string): ScratchDatabase {
  return {
    ...scratch,
    load: async (data, signal) => {
      try {
        await scratch.load(data, signal);
      } catch (error) {
        const free = await freeBytes(dir);
        if (!(error instanceof Failure) || error.id !== 'backup.unreadable' || free === null || free >= fullBelow) throw error;
        throw new Failure('stack.scratch-failed', {
          attempted: error.attempted ?? 'load a backup',
          reason: `the disk of ${dir} is full`,
          cause: error,
        });
      }
    },
  };
}

type Boot = (database: ScratchPlace, options: BootOptions, signal: AbortSignal) => Promise<ScratchHomeserver>;

const noServer = (major: number | null): string => `there is no server of PostgreSQL ${String(major)} here (initdb)`;

/** A copy of the file, in a folder of its own. */
async function openScratchSqlite(dir: string, boot: Boot): Promise<ScratchDatabase> {
  const home = await mkdtemp(join(dir, 'steward-scratch-'));
  const path = join(home, 'homeserver.db');
  let database: DatabaseSync | null = null;
  const opened = (): DatabaseSync => (database ??= openSqlite(path, false));
  return {
    load: async (chunks, signal) => {
      await feedDecompressed({ reader: { name: 'dd', command: ['dd', 'bs=1M', `of=${path}`] }, data: chunks, signal });
    },
    rows: (sql) => readerOf(opened()).rows(sql),
    batches: (sql, size) => readerOf(opened()).batches(sql, size),
    execute: (sql) => Promise.resolve().then(() => opened().exec(sql)),
    boot: (options, signal) => boot({ kind: 'sqlite', path }, options, signal),
    close: async () => {
      database?.close();
      database = null;
      await rm(home, { recursive: true, force: true });
    },
  };
}
