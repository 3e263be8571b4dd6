import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setImmediate } from 'node:timers/promises';
import { ageDecrypt, ensureAge, makeAgeKey } from '../../kit/age.ts';
import type { RoomEvent } from '../../kit/client.ts';
import { Homeserver } from './support/homeserver.ts';
import { bodyOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';
import { until } from './support/until.ts';

/** Backups that Steward cannot open, opened by an admin with the program `age`, for one job. */

jest.setTimeout(90_000);

let home: Homeserver;
let steward: Steward;
let dir: string;
let id: string;
/** The file of a media that takes a while to bring back. */
let big: string;

beforeAll(async () => {
  await ensureAge();
  home = await Homeserver.start();
  dir = mkdtempSync(join(tmpdir(), 'unlock-'));
  const recipient = await makeAgeKey(join(dir, 'my.key'));
  await makeAgeKey(join(dir, 'other.key'));
  steward = await home.steward({
    config: {
      stack: { homeserver_config: [home.synapse.configPath] },
      backup: { destinations: { disk: { directory: join(dir, 'disk') } }, keys: { recipients: [recipient] } },
    },
  });
  big = await upload(randomBytes(40_000_000));
  expect(resultOf(await steward.alice.ask('!backup create'))?.outcome).toBe('done');
  [id = ''] = readdirSync(join(dir, 'disk'));
}, 120_000);

afterAll(async () => {
  await home.dispose();
  rmSync(dir, { recursive: true, force: true });
});

/** @returns the file that it is in the media store */
async function upload(content: Buffer): Promise<string> {
  const answer = await fetch(`${home.synapse.url}/_matrix/media/v3/upload?filename=big.bin`, {
    method: 'POST',
    headers: { authorization: `Bearer ${steward.alice.client.accessToken}` },
    body: new Blob([content]),
  });
  const media = ((await answer.json()) as { content_uri: string }).content_uri.split('/').at(-1) ?? '';
  return join(home.synapse.mediaPath, 'local_content', media.slice(0, 2), media.slice(2, 4), media.slice(4));
}

/** What the admin's shell prints for the lines of a request. */
function atTheDesk(request: string, key = 'my.key'): string {
  const lines = /((?:\{\n)?age -d[\s\S]*?\n(?:END|\} \| age -a -r age1\w+))\n/.exec(request)?.[1] ?? '';
  const { stdout, stderr, status } = spawnSync('sh', ['-c', lines.replaceAll('my.key', key)], { cwd: dir, encoding: 'utf8' });
  if (key === 'my.key' && status !== 0) throw new Error(`${lines}\n${stderr}`);
  return stdout;
}

const jobOf = (request: string): string => /backup unlock ([a-z0-9]{10})/.exec(request)?.[1] ?? '';
const block = (line: string, lines: string): string => `${line}\n\`\`\`\n${lines}\n\`\`\``;

/** The next request for keys. @param cause what makes Steward ask */
async function requestAfter<T>(cause: () => Promise<T>): Promise<{ caused: T; request: string }> {
  const seen = new Set((await steward.alice.history()).map(({ event_id: at }) => at));
  const caused = await cause();
  const request = await steward.alice.hears((body, event) => body.includes('🔑') && !seen.has(event.event_id));
  return { caused, request: bodyOf(request) };
}

/** Asks for something that needs a key. @returns the event of the command, and the request that follows */
async function asked(line: string): Promise<{ said: string; request: string }> {
  const { caused: said, request } = await requestAfter(() => steward.alice.say(line));
  return { said, request };
}

/** Answers a request as an admin does. */
async function unlock(request: string): Promise<RoomEvent> {
  return steward.bob.ask(block(`!backup unlock ${jobOf(request)}`, atTheDesk(request)));
}

const restoreStates = (): unknown[] => {
  const database = new DatabaseSync(join(steward.dataDir, 'steward.db'), { readOnly: true, timeout: 5000 });
  const rows = database.prepare('SELECT state FROM restores ORDER BY id').all();
  database.close();
  return rows.map(({ state }) => state);
};

const stateOf = (job: string): unknown => {
  const database = new DatabaseSync(join(steward.dataDir, 'steward.db'), { readOnly: true, timeout: 5000 });
  const row = database.prepare('SELECT state FROM jobs WHERE id = ?').get(job);
  database.close();
  return row?.['state'];
};

const wordsOf = (event: RoomEvent): [string | undefined, string | undefined] => [resultOf(event)?.outcome, resultOf(event)?.error_id];

/** Everything that Steward has written down of itself. */
const traces = (): string =>
  `${readdirSync(steward.dataDir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1'))
    .join('\n')}${steward.log}`;

test('a whole check waits for the admin, whose shell opens the epoch for it', async () => {
  const { said, request } = await asked(`!backup verify ${id} --level 2`);
  expect(request).toContain(`backup verify ${id}`);
  const month = new Date().toISOString().slice(0, 7);
  expect(bodyOf(await steward.alice.ask('!backup keys'))).toContain(`age -d -i my.key`);

  const answer = await steward.bob.ask(block('!backup unlock', atTheDesk(request)));
  expect(resultOf(answer)).toMatchObject({ command: 'backup unlock', outcome: 'done' });
  expect(bodyOf(answer)).toContain(`Opened ${month} for`);
  const done = await steward.alice.answer(said);
  expect(bodyOf(done)).toContain('L2, opened and read to its end');

  // It was for that job alone.
  const again = await asked(`!backup verify ${id} --level 2`);
  expect(jobOf(again.request)).not.toBe(jobOf(request));
  expect(wordsOf(await steward.alice.ask(block(`!backup unlock ${jobOf(again.request)}`, atTheDesk(request))))).toEqual([
    'refused',
    'backup.wrong-unlock',
  ]);
  await steward.alice.ask(block('!backup unlock', atTheDesk(again.request)));
  expect(resultOf(await steward.alice.answer(again.said))?.outcome).toBe('done');
});

test('the epoch’s key is nowhere but in memory', async () => {
  const epoch = readdirSync(join(dir, 'disk', id, 'keys')).find((name) => name.startsWith('epoch-')) ?? '';
  const opened = await ageDecrypt(join(dir, 'my.key'), join(dir, 'disk', id, 'keys', epoch));
  const secret = /AGE-SECRET-KEY-1[A-Z0-9]+/.exec(opened)?.[0] ?? 'none';
  expect(secret).toMatch(/^AGE-SECRET-KEY-1/);
  expect(traces()).not.toContain(secret.slice(0, 40));
  const said = (await steward.alice.history()).map((event) => JSON.stringify(event)).join('\n');
  expect(said).not.toContain(secret.slice(0, 40));
  // What was sent is not kept either.
  expect(traces()).not.toMatch(/BEGIN AGE ENCRYPTED FILE-----\s*YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSB[\s\S]{0,40}unlock/);
});

test('a file with the command as its caption will do', async () => {
  const { said, request } = await asked(`!backup verify ${id} --level 2`);
  const content = atTheDesk(request);
  const uploaded = await fetch(`${home.synapse.url}/_matrix/media/v3/upload?filename=answer.age`, {
    method: 'POST',
    headers: { authorization: `Bearer ${steward.alice.client.accessToken}` },
    body: content,
  });
  const { content_uri: url } = (await uploaded.json()) as { content_uri: string };
  const answer = await steward.alice.ask('!backup unlock', { msgtype: 'm.file', filename: 'answer.age', url });
  expect(resultOf(answer)?.outcome).toBe('done');
  expect(resultOf(await steward.alice.answer(said))?.outcome).toBe('done');
});

test('nothing but the answer opens it', async () => {
  const { said, request } = await asked(`!backup verify ${id} --level 2`);
  const right = atTheDesk(request);
  const [, recipient = ''] = /age -a -r (age1\w+)/.exec(request) ?? [];
  const sealed = (text: string): string => spawnSync('sh', ['-c', `age -a -r ${recipient}`], { input: text, encoding: 'utf8' }).stdout;
  const stranger = readFileSync(join(dir, 'other.key'), 'utf8');
  for (const wrong of [
    'hello',
    right.split('\n').slice(0, -3).join('\n'),
    sealed('hello'),
    sealed(stranger),
    readFileSync(join(dir, 'my.key'), 'utf8').replace(/.*SECRET.*/, 'x'),
  ])
    expect(wordsOf(await steward.alice.ask(block('!backup unlock', wrong)))).toEqual(['refused', 'backup.wrong-unlock']);
  expect(atTheDesk(request, 'other.key')).not.toContain('AGE-SECRET');
  // Somebody's own key typed into the room is taken away, as any secret.
  await steward.alice.say(block('!backup unlock', stranger));
  await steward.alice.hears((body) => body.includes('usage.secret-in-command'));
  expect(resultOf(await steward.carol.ask(block('!backup unlock', right)))).toMatchObject({ outcome: 'refused' });
  await steward.alice.ask(block('!backup unlock', right));
  expect(resultOf(await steward.alice.answer(said))?.outcome).toBe('done');
  expect(wordsOf(await steward.alice.ask(block('!backup unlock', right)))).toEqual(['refused', 'backup.nothing-to-unlock']);
});

test('a job that waits for a key can be cancelled', async () => {
  const { said, request } = await asked(`!backup verify ${id} --level 2`);
  expect(resultOf(await steward.alice.ask(`!job cancel ${jobOf(request)}`))?.outcome).toBe('done');
  expect(wordsOf(await steward.alice.answer(said))).toEqual(['refused', 'job.cancelled']);
});

test('while a key is waited for, other backups are made', async () => {
  const waiting = await asked(`!backup verify ${id} --level 2`);
  expect(resultOf(await steward.bob.ask('!backup create --to disk'))?.outcome).toBe('done');
  expect((await steward.alice.answers(waiting.said)).filter((event) => resultOf(event)?.outcome !== 'waiting')).toEqual([]);
  expect(resultOf(await unlock(waiting.request))?.outcome).toBe('done');
  expect(resultOf(await steward.alice.answer(waiting.said))?.outcome).toBe('done');
});

test.each([
  ['killed', () => steward.kill()],
  ['stopped', () => steward.stop()],
])('%s while a key is waited for, Steward asks again, and the answer of before opens nothing', async (_, end) => {
  const { said, request } = await asked(`!backup verify ${id} --level 2`);
  const began = Date.now();
  await end();
  expect(Date.now() - began).toBeLessThan(8000);

  const again = await requestAfter(() => steward.start());

  expect(jobOf(again.request)).toBe(jobOf(request));
  expect(again.request).toContain(`backup verify ${id}`);
  const stale = block(`!backup unlock ${jobOf(request)}`, atTheDesk(request));
  expect(wordsOf(await steward.bob.ask(stale))).toEqual(['refused', 'backup.wrong-unlock']);
  expect(resultOf(await unlock(again.request))?.outcome).toBe('done');
  const answer = await steward.alice.answer(said);
  expect(bodyOf(answer)).toContain('L2, opened and read to its end');
  expect((await steward.alice.answers(said)).filter((event) => resultOf(event)?.outcome !== 'waiting')).toHaveLength(1);
});

test('a prepare that was killed asks again, before the load and in it; one that is loaded is not loaded again', async () => {
  rmSync(big);
  const { said, request } = await asked(`!restore prepare ${id} --yes`);
  await steward.kill();
  const again = await requestAfter(() => steward.start());
  expect(restoreStates()).toEqual([]);

  const answer = block(`!backup unlock ${jobOf(request)}`, atTheDesk(again.request));
  await steward.alice.say(answer);
  while (!restoreStates().includes('preparing')) await setImmediate();
  await steward.kill();
  expect(restoreStates()).toEqual(['preparing']);

  const third = await requestAfter(() => steward.start());
  expect(jobOf(third.request)).toBe(jobOf(request));
  expect(restoreStates()).toEqual(['failed']);
  expect(resultOf(await unlock(third.request))?.outcome).toBe('done');
  expect(resultOf(await steward.alice.answer(said, 30_000))?.outcome).toBe('done');
  expect(restoreStates()).toEqual(['failed', 'prepared']);
});

test('what another restore has become while the keys were waited for is looked at once they are there', async () => {
  const first = await asked(`!restore prepare ${id} --yes`);
  const second = await asked(`!restore prepare ${id} --yes`);
  await unlock(second.request);
  expect(resultOf(await steward.alice.answer(second.said, 30_000))?.outcome).toBe('done');
  await unlock(first.request);
  expect(wordsOf(await steward.alice.answer(first.said, 30_000))).toEqual(['refused', 'restore.state']);
  expect(restoreStates()).toEqual(['failed', 'finished', 'prepared']);
});

test('a scan asks for the key of lists that the catalogue lacks, when all else is in it', async () => {
  expect(bodyOf(await steward.alice.ask('!backup scan'))).toContain('disk: 2 backups');
  await steward.stop();
  const database = new DatabaseSync(join(steward.dataDir, 'steward.db'));
  const packs = (): unknown => database.prepare('SELECT count(*) AS n FROM media_packs').get();
  const before = packs();
  database.exec('DELETE FROM media_packs; DELETE FROM media_files; DELETE FROM backups');
  await steward.start();
  const { said, request } = await asked('!backup scan');
  expect(bodyOf(await steward.bob.ask('!backup list'))).toContain(id);
  expect(packs()).toEqual({ n: 0 });
  expect(resultOf(await unlock(request))?.outcome).toBe('done');
  const answer = bodyOf(await steward.alice.answer(said));
  expect(answer).toContain('disk: 2 backups');
  expect(answer).toContain('2 that the catalogue had not');
  expect(answer).not.toContain('without a key');
  expect(packs()).toEqual(before);
  database.close();
  expect(bodyOf(await steward.alice.ask('!backup create'))).toContain('0 new of');
});

test('a scan that nobody gives a key to is made of what needs none', async () => {
  const database = new DatabaseSync(join(steward.dataDir, 'steward.db'), { timeout: 5000 });
  database.exec('DELETE FROM media_packs; DELETE FROM media_files');
  database.close();
  const shown = await steward.shell('backup', 'scan', '--identity-file', join(dir, 'other.key'));
  expect(shown).toMatchObject({ exit: 0 });
  expect(shown.out).toMatch(/\d+ lists of media could not be opened without a key/);
  expect((await steward.shell('backup', 'scan', '--identity-file', join(dir, 'my.key'))).out).not.toContain('without a key');
});

test('in the shell the request is shown where the command waits, and answered in another', async () => {
  const shell = steward.startShell('backup', 'verify', id, '--level', '2');
  const before = new Set((await steward.alice.history()).map(({ event_id: at }) => at));
  const request = bodyOf(await steward.alice.hears((body, event) => body.includes('🔑') && !before.has(event.event_id)));
  writeFileSync(join(dir, 'answer.age'), atTheDesk(request), { mode: 0o600 });
  expect((await steward.shell('backup', 'unlock', '--answer-file', join(dir, 'answer.age'))).exit).toBe(0);
  const shown = await shell.ended;
  expect(shown).toMatchObject({ exit: 0 });
  expect(shown.err).toContain(`steward backup unlock ${jobOf(request)}`);

  // Or the key comes with the command.
  expect(await steward.shell('backup', 'verify', id, '--level', '2', '--identity-file', join(dir, 'my.key'))).toMatchObject({ exit: 0 });
  expect((await steward.shell('backup', 'verify', id, '--level', '2', '--identity-file', join(dir, 'other.key'))).err).toContain(
    'backup.no-key',
  );
});

test('what the shell had asked for waits for the next daemon; a shell without one leaves it, and says how to give a key', async () => {
  const waiting = await requestAfter(() => Promise.resolve(steward.startShell('backup', 'verify', id, '--level', '2')));
  const job = jobOf(waiting.request);
  await steward.kill();
  expect((await waiting.caused.ended).err).toContain('job.unknown');

  const verify = ['backup', 'verify', id, '--level', '2'];
  const refused = await steward.shell(...verify);
  expect(refused).toMatchObject({ exit: 3, err: expect.stringMatching(/backup\.no-key[\s\S]*--identity-file my\.key/) });
  const unlocking = await steward.shell('backup', 'unlock', job);
  expect(unlocking).toMatchObject({ exit: 3, err: expect.stringMatching(/daemon does not run[\s\S]*--identity-file my\.key/) });
  expect(await steward.shell(...verify, '--identity-file', join(dir, 'my.key'))).toMatchObject({ exit: 0 });
  expect(stateOf(job)).toBe('running');

  const again = await requestAfter(() => steward.start());
  expect(jobOf(again.request)).toBe(job);
  expect(resultOf(await unlock(again.request))?.outcome).toBe('done');
  await until(() => stateOf(job) === 'done', 15_000, 'it has gone on');
});

test('cancelled by a shell without a daemon it asks nobody any more, and whoever asked is told', async () => {
  const { said, request } = await asked(`!backup verify ${id} --level 2`);
  const job = jobOf(request);
  const waiting = await requestAfter(() => Promise.resolve(steward.startShell('backup', 'verify', id, '--level', '2')));
  const ofShell = jobOf(waiting.request);
  await steward.kill();
  expect((await waiting.caused.ended).err).toContain('job.unknown');

  for (const line of [
    ['job', 'cancel', job],
    ['job', 'cancel', job],
  ])
    expect(await steward.shell(...line)).toMatchObject({ exit: 0, out: expect.stringContaining('as soon as the daemon runs') });
  expect(await steward.shell('job', 'cancel', ofShell)).toMatchObject({ exit: 0, out: expect.stringContaining('is cancelled.') });
  expect(stateOf(ofShell)).toBe('cancelled');

  await steward.start();
  expect(resultOf(await steward.alice.answer(said))?.error_id).toBe('job.cancelled');
  expect(stateOf(job)).toBe('cancelled');
  const seen = (await steward.alice.history()).map(bodyOf);
  for (const each of [job, ofShell]) expect(seen.filter((body) => body.includes(`backup unlock ${each}`))).toHaveLength(1);
});

test('what lies on the disk was not touched by any of it', () => {
  const objects = (
    JSON.parse(readFileSync(join(dir, 'disk', id, 'manifest.json'), 'utf8')) as { objects: { name: string; stored: { sha256: string } }[] }
  ).objects;
  for (const { name, stored } of objects)
    expect(
      createHash('sha256')
        .update(readFileSync(join(dir, 'disk', name)))
        .digest('hex'),
    ).toBe(stored.sha256);
});
