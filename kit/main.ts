// The real parts of the tests, by hand.
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Database, ensurePostgres, type Postgres, startPostgres } from './postgres.ts';
import { announce, detach, endDetached, list, type Running, withdraw } from './running.ts';
import { ensureSynapse, startSynapse, type Synapse } from './synapse.ts';

const USAGE = `npm run kit -- up synapse|postgres|all [--dir DIR] [--json] [--detach]
npm run kit -- list [--json]
npm run kit -- down

up starts a throw-away server on this machine, shows how to reach it, and runs until Ctrl-C; \`all\` is a Synapse on
a PostgreSQL, \`synapse\` alone keeps its data in SQLite. --dir keeps the data there, and uses what is there already.
--detach runs it in the background until \`down\`.`;

const PARTS = ['synapse', 'postgres', 'all'];

async function up(part: string, dir: string | undefined): Promise<void> {
  const parts: (Synapse | Postgres)[] = [];
  const end = async () => {
    await withdraw(process.pid);
    for (const running of parts.reverse()) await running.stop().finally(() => running.dispose());
  };
  try {
    const running: Running = { pid: process.pid, detached: process.env['STEWARD_KIT_DETACHED'] === '1' };
    let database: Database | null = null;
    if (part !== 'synapse') {
      const postgres = await startPostgres(folder(dir, part, 'postgres'));
      parts.push(postgres);
      database = await postgres.createDatabase({ name: 'synapse' });
      running.postgres = await describePostgres(postgres, database);
    }
    if (part !== 'postgres') {
      const synapse = await startSynapse({
        ...folder(dir, part, 'synapse'),
        database: database === null ? 'sqlite' : { postgres: database },
      });
      parts.push(synapse);
      running.synapse = await describeSynapse(synapse);
    }
    await announce(running);
    show([running]);
  } catch (error) {
    await end();
    throw error;
  }
  const heartbeat = setInterval(() => {}, 60_000); // keeps this process, which keeps the servers
  const stop = () => {
    clearInterval(heartbeat);
    ending ??= end();
  };
  let ending: Promise<void> | null = null;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop);
}

function folder(dir: string | undefined, part: string, name: string): { dir?: string } {
  if (dir === undefined) return {};
  return { dir: part === 'all' ? join(dir, name) : dir };
}

async function describeSynapse(synapse: Synapse): Promise<Running['synapse'] & object> {
  const { url, serverName, dir, configPath, logPath, registrationSharedSecretPath } = synapse;
  const passwordFile = join(dir, 'admin_password');
  const accessTokenFile = join(dir, 'admin_access_token');
  if (!existsSync(accessTokenFile)) {
    const { password, accessToken } = await synapse.register({ localpart: 'admin', admin: true });
    await writeFile(passwordFile, password, { mode: 0o600 });
    await writeFile(accessTokenFile, accessToken, { mode: 0o600 });
  }
  const admin = { userId: `@admin:${serverName}`, passwordFile, accessTokenFile };
  return {
    url,
    serverName,
    dir,
    configFile: configPath,
    logFile: logPath,
    registrationSharedSecretFile: registrationSharedSecretPath,
    admin,
  };
}

async function describePostgres(
  { host, port, dir, logPath, programs, superuser }: Postgres,
  { name, user, password }: Database,
): Promise<Running['postgres'] & object> {
  const passwordFile = join(dir, `${user}_password`);
  await writeFile(passwordFile, password, { mode: 0o600 });
  const superuserPasswordFile = join(dir, 'superuser_password');
  return {
    host,
    port,
    dir,
    logFile: logPath,
    programs,
    superuser: superuser.user,
    superuserPasswordFile,
    database: name,
    user,
    passwordFile,
  };
}

function show(all: Running[]): void {
  if (values.json) console.log(JSON.stringify(command === 'up' ? all[0] : all));
  else for (const running of all) console.log(described(running));
}

function described({ pid, detached, synapse, postgres }: Running): string {
  const lines: [string, string][] = [];
  if (synapse) {
    lines.push(['Synapse', `${synapse.url}  (${synapse.serverName})`]);
    lines.push(['admin', synapse.admin.userId], ['password in', synapse.admin.passwordFile], ['token in', synapse.admin.accessTokenFile]);
    lines.push(['shared secret in', synapse.registrationSharedSecretFile], ['log', synapse.logFile]);
  }
  if (postgres) {
    lines.push(
      ['PostgreSQL', `${postgres.host}:${postgres.port}`],
      ['database', `${postgres.database}, owned by ${postgres.user}`],
      ['password in', postgres.passwordFile],
    );
    lines.push(
      ['superuser', postgres.superuser],
      ['password in', postgres.superuserPasswordFile],
      ['programs in', postgres.programs],
      ['log', postgres.logFile],
    );
  }
  lines.push(['ends with', detached ? 'npm run kit -- down' : `Ctrl-C${command === 'up' ? '' : ` in its terminal (process ${pid})`}`]);
  return lines.map(([name, value]) => `${name.padEnd(18)}${value}`).join('\n');
}

function usageError(text: string): never {
  console.error(`error: ${text}\n\n${USAGE}`);
  process.exit(2);
}

const OPTIONS = { dir: { type: 'string' }, json: { type: 'boolean' }, detach: { type: 'boolean' }, help: { type: 'boolean' } } as const;

function parsed() {
  try {
    return parseArgs({ options: OPTIONS, allowPositionals: true });
  } catch (error) {
    return usageError((error as Error).message);
  }
}

const { values, positionals } = parsed();
const [command, part, ...rest] = positionals;

try {
  if (values.help) console.log(USAGE);
  else if (command === 'up' && part !== undefined && PARTS.includes(part) && rest.length === 0) {
    if (values.detach) {
      if (part !== 'postgres') await ensureSynapse(); // here, where progress is seen
      if (part !== 'synapse') await ensurePostgres();
      show([await detach(['up', part, ...(values.dir === undefined ? [] : ['--dir', values.dir])])]);
    } else await up(part, values.dir);
  } else if (command === 'list' && part === undefined) show(await list());
  else if (command === 'down' && part === undefined) for (const { pid } of await endDetached()) console.log(`ended process ${pid}`);
  else usageError(command === undefined ? 'what? up, list or down' : `not understood: ${positionals.join(' ')}`);
} catch (error) {
  console.error(`error: ${(error as Error).message}`);
  process.exitCode = 1;
}
