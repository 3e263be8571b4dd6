import { spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { describe, expect, jest, test } from '@jest/globals';
import { table, text } from '../../src/reply/parts.ts';
import { silentLog } from '../../src/telemetry/log.ts';
import { serveSocket } from '../../src/terminal/socket-server.ts';
import { version } from '../../src/version.ts';
import { end, errorParts, FakeSession, folder, later, prompt, reply, until } from '../terminal/support.ts';

jest.setTimeout(60_000);

const main = join(import.meta.dirname, '..', '..', 'src', 'main.ts');
const command = `${process.execPath} --disable-warning=ExperimentalWarning ${main}`;

interface Ended {
  exit: number | null;
  out: string;
  err: string;
}

/** A child with what it has said so far. */
class Started {
  readonly child: ChildProcess;
  out = '';
  err = '';
  readonly ended: Promise<Ended>;

  constructor(line: string, cwd: string, env: Record<string, string> = {}) {
    this.child = spawn('bash', ['-c', line], {
      cwd,
      env: { PATH: process.env['PATH'], HOME: cwd, TERM: 'xterm', LANG: 'C.UTF-8', ...env },
    });
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.out += text;
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.err += text;
    });
    this.ended = new Promise((resolve) => {
      this.child.once('close', (exit) => {
        resolve({ exit, out: this.out, err: this.err });
      });
    });
    later(() => {
      this.child.kill('SIGKILL');
    });
  }
}

/** A folder with a configuration without a homeserver. */
function place(config = 'data_dir: data\n'): string {
  const path = folder();
  mkdirSync(join(path, 'data'));
  writeFileSync(join(path, 'steward.yaml'), config);
  return path;
}

const steward = (words: string, cwd: string, env?: Record<string, string>): Promise<Ended> =>
  new Started(`${command} ${words}`, cwd, env).ended;

/** The same on a terminal of its own; both outputs are one there. */
const onTerminal = (words: string, cwd: string, env?: Record<string, string>): Started =>
  new Started(`script -qec '${command} ${words}' /dev/null`, cwd, env);

async function daemonOf(session: FakeSession): Promise<string> {
  const cwd = place();
  const server = await serveSocket(join(cwd, 'data', 'steward.sock'), session, silentLog);
  later(() => server.close());
  return cwd;
}

describe('steward', () => {
  test('tells its version and what there is, with no configuration', async () => {
    const cwd = folder();
    expect(await steward('--version', cwd)).toEqual({ exit: 0, out: `${version}\n`, err: '' });
    const help = await steward('--help', cwd);
    expect(help.exit).toBe(0);
    for (const name of ['run', 'init', 'config check', 'completion', 'user list', 'server status']) expect(help.out).toContain(name);
    expect(await steward('', cwd)).toMatchObject({ exit: 2, out: '', err: help.out });
    expect((await steward('completion bash', cwd)).out).toContain('complete -F _steward steward');
  });

  test('ends by the failure table, with the error grammar or as JSON', async () => {
    const empty = folder();
    const cases: [words: string, cwd: string, said: RegExp][] = [
      ['help', empty, /^error: .*\(config\.not-found\)\nhint: .*\n$/],
      ['user list --config /nonexistent.yaml', empty, /\/nonexistent\.yaml/],
      ['run --config /nonexistent.yaml', empty, /config\.not-found/],
      ['run now', empty, /usage\.extra-argument/],
      ['completion csh', empty, /usage\.invalid-value/],
      ['user list', place('data_dri: data\n'), /data_dri[\s\S]*data_dir[\s\S]*config\.invalid/],
      ['user create alice --password=geheim', place(), /^(?![\s\S]*geheim)[\s\S]*usage\.secret-in-command/],
    ];
    const ended = await Promise.all(cases.map(([words, cwd]) => steward(words, cwd)));
    expect(ended).toEqual(cases.map(([, , said]) => ({ exit: 2, out: '', err: expect.stringMatching(said) })));
    expect(JSON.parse((await steward('help --json', empty)).out)).toMatchObject({
      command: null,
      outcome: 'usage',
      error_id: 'config.not-found',
    });
  });

  test('takes the store itself where no daemon runs', async () => {
    const cwd = place();
    expect(await steward('server version', cwd)).toMatchObject({
      exit: 3,
      out: '',
      err: expect.stringContaining('(config.no-homeserver)'),
    });
    expect(await steward('help', cwd)).toMatchObject({ exit: 0, out: expect.stringContaining('steward user list'), err: '' });
    expect(await steward('usr list', cwd)).toMatchObject({ exit: 2, err: expect.stringContaining('^^^') });
  });

  test('attaches to the daemon of its configuration, which a signal ends', async () => {
    const cwd = place();
    const socket = join(cwd, 'data', 'steward.sock');
    const daemon = new Started(`exec ${command} run`, cwd);
    await until(() => existsSync(socket), 10_000);
    const both = await Promise.all([steward('help', cwd), steward('help --json', cwd)]);
    expect(both).toMatchObject([{ exit: 0 }, { exit: 0 }]);
    expect(JSON.parse(both[1].out)).toHaveProperty('commands');
    daemon.child.kill('SIGTERM');
    expect(await daemon.ended).toMatchObject({ exit: 0, out: '' });
    expect(existsSync(socket)).toBe(false);
  }, 30_000);

  test('waits 5 s for a store that another holds, and is refused then', async () => {
    const cwd = place();
    const holder = new Started(
      `exec ${process.execPath} -e "const {DatabaseSync}=require('node:sqlite');new DatabaseSync('data/steward.lock').exec('PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE');console.log('held');setInterval(()=>{},1000)"`,
      cwd,
    );
    await until(() => holder.out.includes('held'));
    const begin = performance.now();
    expect(await steward('help', cwd)).toMatchObject({ exit: 3, out: '', err: expect.stringContaining('(store.locked)') });
    expect(performance.now() - begin).toBeGreaterThan(5000);
  }, 30_000);

  test('sends words, list and secret apart', async () => {
    const session = new FakeSession(() => [reply('done'), end]);
    const cwd = await daemonOf(session);
    writeFileSync(join(cwd, 'names'), 'alice\n\nbob\n');
    writeFileSync(join(cwd, 'secret'), 'geheim\n', { mode: 0o600 });
    chmodSync(join(cwd, 'secret'), 0o644);
    expect(await steward('user create --input names --password-file secret -y', cwd)).toMatchObject({
      exit: 0,
      out: 'an answer\n',
      err: expect.stringContaining('warning: others on this machine may read secret'),
    });
    expect(session.requests).toEqual([{ words: ['user', 'create', '-y'], items: ['alice', 'bob'], secrets: { password: 'geheim' } }]);
  });

  test('ends quietly when its reader has enough', async () => {
    const session = new FakeSession(function* () {
      yield reply('done', { dataName: 'users.csv' });
      for (;;) yield { type: 'data', chunk: `${'x'.repeat(9999)}\n` };
    });
    const cwd = await daemonOf(session);
    const ended = await new Started(`${command} user list --csv | head -c 5; echo " \${PIPESTATUS[0]}"`, cwd).ended;
    expect(ended).toEqual({ exit: 0, out: 'xxxxx 0\n', err: '' });
    await until(() => session.returned);
  });

  test('asks nothing where there is no terminal', async () => {
    const session = jobOf(null);
    expect(await steward('user deactivate bob < /dev/null', await daemonOf(session))).toMatchObject({
      exit: 2,
      out: '',
      err: expect.stringContaining('(usage.no-terminal)'),
    });
    expect(session.decisions).toEqual([['job1', false]]);
  });
});

function jobOf(typeTarget: string | null): FakeSession {
  return new FakeSession(async function* (session) {
    yield prompt(typeTarget);
    await until(() => session.decisions.length > 0);
    yield session.decisions[0]?.[1] === true ? reply('done') : reply('refused', { parts: errorParts });
    yield end;
  });
}

describe('on a terminal', () => {
  const answer = async (started: Started, question: string, typed: string): Promise<void> => {
    await until(() => started.out.includes(question), 10_000);
    started.child.stdin?.write(typed);
  };

  test.each([
    ['y\r', true, 0],
    ['\r', false, 3],
    ['n\r', false, 3],
    ['\u0003', false, 3],
  ])('a question that gets %j decides %s', async (typed, yes, exit) => {
    const session = jobOf(null);
    const started = onTerminal('user update-password bob', await daemonOf(session));
    await answer(started, 'Run it?', typed);
    expect((await started.ended).exit).toBe(exit);
    expect(session.decisions).toEqual([['job1', yes]]);
  });

  test('what destroys runs when its target is typed', async () => {
    const session = jobOf('@bob:example.org');
    const started = onTerminal('user deactivate bob', await daemonOf(session));
    await answer(started, 'Type @bob:example.org', '@bob:example.org\r');
    expect((await started.ended).exit).toBe(0);
    expect(session.decisions).toEqual([['job1', true]]);
  });

  test('a password is typed twice and never shown', async () => {
    const session = new FakeSession(() => [reply('done'), end]);
    const started = onTerminal('user create alice -p', await daemonOf(session));
    await answer(started, 'New password:', 'geheim\r');
    await answer(started, 'Again:', 'geheim\r');
    expect((await started.ended).exit).toBe(0);
    expect(session.requests).toEqual([{ words: ['user', 'create', 'alice'], items: null, secrets: { password: 'geheim' } }]);
    expect(started.out).not.toContain('geheim');
  });

  const parts = [
    text({ strong: 'Accounts' }, ': 1'),
    table([{ title: 'User' }, { title: 'Is' }], [[[{ id: '@a:b', name: 'A\u001b[2J' }], ['admin']]]),
  ];

  test('there are colours, unless NO_COLOR is set, and none in a pipe', async () => {
    const cwd = await daemonOf(new FakeSession(() => [reply('done', { parts }), end]));
    const coloured = await onTerminal('user list', cwd).ended;
    expect(coloured.out).toContain('\u001b[1mAccounts\u001b[22m');
    expect(coloured.out).not.toContain('\u001b[2J');
    expect(stripVTControlCharacters(coloured.out)).toBe('Accounts: 1\r\nUser         Is\r\n@a:b (A[2J)  admin\r\n');
    const plain = await onTerminal('user list', cwd, { NO_COLOR: '1' }).ended;
    expect(plain.out).toBe(stripVTControlCharacters(coloured.out));
    expect((await steward('user list', cwd)).out).toBe('Accounts: 1\nUSER         IS\n@a:b (A[2J)  admin\n');
  });
});
