import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { toStderr } from '../../kit/cache.ts';
import { ensureDebian, hasProgram } from '../../kit/debian.ts';
import { Homeserver } from './support/homeserver.ts';
import { bodyOf, resultOf } from './support/seat.ts';
import type { Recorded, Steward } from './support/steward.ts';
import { until } from './support/until.ts';

/** What is written down of what happens, as it lies in the store and in the files. Hashes are reckoned here anew. */

jest.setTimeout(90_000);

let home: Homeserver;
let steward: Steward;

beforeAll(async () => {
  home = await Homeserver.start();
  steward = await home.steward({
    config: {
      roles: {
        owner: { owner: true, request: { groups: ['*'], tier: 'catastrophic' } },
        reader: { request: { groups: ['user'], tier: 'read' } },
      },
    },
    start: false,
  });
  steward.configure({
    people: {
      alice: { user_ids: [home.userId('alice')], roles: ['owner'] },
      bob: { user_ids: [home.userId('bob')], roles: ['reader'] },
    },
  });
  await steward.start();
});

afterAll(() => home.dispose());

/** Whether there is such a record by now. */
function has(fits: Partial<Recorded>): () => boolean {
  return () =>
    steward.audit().some(({ record: { event, failure } }) => event === (fits.event ?? event) && failure === (fits.failure ?? failure));
}

/** The records of the store. Every hash is right, and the files have the same. */
function recorded(of: Steward = steward): Recorded[] {
  const rows = of.audit();
  let prev = '0'.repeat(64);
  for (const [at, row] of rows.entries()) {
    expect([row.seq, row.prev]).toEqual([at + 1, prev]);
    prev = createHash('sha256').update(row.prev).update(row.text).digest('hex');
    expect(row.hash).toBe(prev);
  }
  const dir = join(of.dataDir, 'audit');
  const files = readdirSync(dir)
    .filter((name) => name.endsWith('.jsonl'))
    .sort();
  const lines = files.flatMap((name) => readFileSync(join(dir, name), 'utf8').trimEnd().split('\n'));
  expect(lines).toEqual(rows.map(({ hash, prev: before, text }) => `{"hash":"${hash}","prev":"${before}","record":${text}}`));
  return rows.map(({ record }) => record);
}

test('a story: who asked, who was refused, what was done, in whose words it is not', async () => {
  const { alice, bob, carol } = steward;
  const created = await alice.say('!user create dora --email dora@example.org -y');
  const answer = await alice.answer(created);
  const refused = await bob.say('!user create evelyn');
  await bob.answer(refused);
  const guarded = await alice.say('!user deactivate alice');
  await alice.answer(guarded);
  const strange = [await carol.say('!user list'), await carol.say('!help')];
  await carol.answer(strange[0] ?? '');
  const typed = await alice.say('!user create mallory -p hunter2-typed-here');
  await until(has({ event: 'secret.removed' }), 10_000, 'the removal is recorded');
  const asked = await alice.say('!user update-password dora');
  const prompt = await alice.prompt(asked);
  await bob.react(prompt.event_id, '✅');
  await until(has({ failure: 'access.not-requester' }), 10_000, 'the refusal is recorded');
  const vetoed = await alice.react(prompt.event_id, '❌');
  await alice.answer(asked);
  await alice.ask('!user list');

  const all = recorded();
  const person = (name: string): object => ({ kind: 'person', person: name, user_id: home.userId(name), trust: { kind: 'plain' } });
  const job = resultOf(answer)?.job_id;
  expect(all.filter(({ job_id }) => job_id === job)).toMatchObject([
    {
      event: 'job.requested',
      actor: person('alice'),
      command: 'user create',
      tier: 'change',
      event_id: created,
      targets: [home.userId('dora')],
      detail: { arguments: 'email user' },
    },
    { event: 'job.started', actor: { kind: 'steward' }, plan_hash: expect.stringMatching(/^[0-9a-f]{64}$/) },
    { event: 'job.done', targets: [home.userId('dora')], duration_ms: expect.any(Number) },
  ]);
  expect(all.filter(({ event }) => event === 'access.refused')).toMatchObject([
    { actor: person('bob'), command: 'user create', failure: 'access.not-allowed', event_id: refused },
    { actor: person('alice'), command: 'user deactivate', failure: expect.stringMatching(/^guard\./), event_id: guarded },
    { actor: person('bob'), command: 'user update-password', failure: 'access.not-requester' },
  ]);
  expect(all.filter(({ event }) => event === 'access.stranger')).toMatchObject([
    { actor: { kind: 'stranger', user_id: home.userId('carol') }, event_id: strange[0] },
  ]);
  expect(all.filter(({ event }) => event === 'secret.removed')).toMatchObject([{ actor: person('alice'), event_id: typed }]);
  expect(all.filter(({ event }) => event === 'job.vetoed')).toMatchObject([
    { actor: person('alice'), event_id: vetoed, command: 'user update-password' },
  ]);
  const written = JSON.stringify(all);
  for (const word of ['hunter2', 'mallory', 'dora@example.org', 'evelyn']) expect(written).not.toContain(word);
});

test('a restart and what was read in between', async () => {
  await steward.stop();
  await steward.start();
  const all = recorded();
  expect(all.at(0)).toMatchObject({ event: 'steward.started', actor: { kind: 'steward' } });
  expect(all.filter(({ event }) => event === 'access.reads').at(-1)).toMatchObject({
    actor: { person: 'alice' },
    detail: { 'user list': 1 },
  });
  expect(all.slice(-3)).toMatchObject([
    { event: 'steward.stopped', detail: { reason: 'SIGTERM' } },
    { event: 'access.reads' },
    { event: 'steward.started' },
  ]);
});

test('the configuration read again is recorded with the names of what changed', async () => {
  steward.configure({ limits: { bulk: 7 } });
  steward.reload();
  await until(has({ event: 'config.reloaded' }), 10_000, 'it is recorded');
  expect(recorded().at(-1)).toMatchObject({ event: 'config.reloaded', detail: { cause: 'SIGHUP', changed: 'limits' } });
});

test('audit list finds by person, job and event', async () => {
  const rows = async (...words: string[]): Promise<Record<string, unknown>[]> =>
    JSON.parse((await steward.shell('audit', 'list', '--json', ...words)).out) as Record<string, unknown>[];
  expect((await rows('--person', 'bob')).map(({ event }) => event)).toEqual(['access.refused', 'access.refused']);
  expect((await rows('--event', 'access.stranger')).map(({ userId }) => userId)).toEqual([home.userId('carol')]);
  const [done] = await rows('--event', 'job.done');
  expect((await rows('--job', String(done?.['jobId']))).map(({ event }) => event)).toEqual(['job.done', 'job.started', 'job.requested']);
  expect(bodyOf(await steward.alice.ask('!audit list --limit 2'))).toContain('!audit list --limit=2 --before=');
});

describe('an export', () => {
  test('is verified alone, and what was done to it is found', async () => {
    const exported = await steward.shell('audit', 'export', '--yes', '--json');
    expect(exported).toMatchObject({ exit: 0, out: expect.stringContaining('path') });
    const made = (JSON.parse(exported.out) as { result: { path: string; records: number; head: string } }).result;
    const bare = await home.steward({ start: false });
    const verify = (...words: string[]): ReturnType<Steward['shell']> => bare.shell('audit', 'verify', ...words);
    const lines = readFileSync(made.path, 'utf8').trimEnd().split('\n');
    expect(lines).toHaveLength(made.records + 1);

    expect(await verify(made.path, '--head', made.head)).toMatchObject({
      exit: 0,
      err: '',
      out: expect.stringContaining(`whole, ${made.records} records`),
    });

    const tampered = join(steward.dir, 'tampered.jsonl');
    for (const [change, words] of [
      [lines.with(2, (lines[2] ?? '').replace('"steward"', '"Steward"')), 'record 3 was changed'],
      [lines.toSpliced(2, 1), 'record 3 is missing'],
      [lines.slice(0, -2), `it is cut after record ${made.records - 1}`],
    ] as const) {
      writeFileSync(tampered, `${change.join('\n')}\n`);
      expect(await verify(tampered, '--head', made.head)).toMatchObject({ exit: 1, out: '', err: expect.stringContaining(words) });
    }
  });
});

test('the hash of a record is reckoned with jq and sha256sum, as docs/security.md says', async () => {
  await ensureDebian(['jq'], () => hasProgram('jq'), toStderr);
  const manual = readFileSync(join(import.meta.dirname, '../../docs/security.md'), 'utf8');
  const command = /^ {4}(jq .* line\.json \| sha256sum)/m.exec(manual)?.[1] ?? 'false';
  const dir = join(steward.dataDir, 'audit');
  const lines = readFileSync(join(dir, readdirSync(dir).find((name) => name.endsWith('.jsonl')) ?? ''), 'utf8')
    .trimEnd()
    .split('\n');
  for (const line of [lines[0], lines.at(-1)]) {
    writeFileSync(join(steward.dir, 'line.json'), line ?? '');
    const reckoned = execFileSync('sh', ['-c', command], { cwd: steward.dir, encoding: 'utf8' });
    expect(reckoned).toBe(`${(JSON.parse(line ?? '') as { hash: string }).hash}  -\n`);
  }
});

test('a file that was changed while Steward runs is found by audit verify', async () => {
  expect(resultOf(await steward.alice.ask('!audit verify --all'))?.outcome).toBe('done');
  const dir = join(steward.dataDir, 'audit');
  const path = join(dir, readdirSync(dir).find((name) => name.endsWith('.jsonl')) ?? '');
  const before = readFileSync(path, 'utf8');
  writeFileSync(path, before.replace('user create', 'user delete'));

  const answer = await steward.alice.ask('!audit verify --all');

  expect(resultOf(answer)).toMatchObject({ outcome: 'failed', error_id: 'audit.broken' });
  expect(bodyOf(answer)).toMatch(/\.jsonl: record \d+ was changed/);
  writeFileSync(path, before);
  expect(resultOf(await steward.alice.ask('!audit verify --all'))?.outcome).toBe('done');
});
