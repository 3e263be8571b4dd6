import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureAge, makeAgeKey } from '../../kit/age.ts';
import type { RoomEvent } from '../../kit/client.ts';
import { Homeserver } from './support/homeserver.ts';
import { confirmKeys, openedBy, type ShownRecipient } from './support/keys.ts';
import { bodyOf, codeIn, resultOf } from './support/seat.ts';
import type { Shown, Steward } from './support/steward.ts';

/** Who can open backups: shown by the program `age`, and changed by an approval alone. */

jest.setTimeout(120_000);

let home: Homeserver;
let steward: Steward;
let dir: string;
let first: string;
let second: string;

beforeAll(async () => {
  await ensureAge();
  home = await Homeserver.start();
  dir = mkdtempSync(join(tmpdir(), 'recipients-'));
  first = await makeAgeKey(key('first'));
  second = await makeAgeKey(key('second'));
  steward = await home.steward({ config: { stack: { homeserver_config: [home.synapse.configPath] }, ...backup([first]) } });
}, 120_000);

afterAll(async () => {
  await home.dispose();
  rmSync(dir, { recursive: true, force: true });
});

const key = (name: string): string => join(dir, `${name}.key`);
const disk = (): string => join(dir, 'disk');
const backup = (recipients: string[], identity: string | null = null): Record<string, Record<string, unknown>> => ({
  backup: {
    destinations: { disk: { directory: disk() } },
    keys: { recipients, ...(identity === null ? {} : { identity_file: identity }) },
  },
});
const shell = async (...words: string[]): Promise<string> => (await steward.shell(...words)).out;
const json = async <T>(...words: string[]): Promise<T> => JSON.parse(await shell(...words, '--json')) as T;
const recipients = async (): Promise<ShownRecipient[]> => (await json<{ recipients: ShownRecipient[] }>('backup', 'keys')).recipients;
const doctor = async (): Promise<string> => /backups[^\n]*(?:\n\s[^\n]*)*/.exec(await shell('doctor'))?.[0] ?? '';
const newest = (place = disk()): string =>
  readdirSync(place)
    .filter((name) => /^\d/.test(name))
    .sort()
    .at(-1) ?? '';
/** Which of the keys opens an epoch's file. */
const openers = (path: string): string[] => ['first', 'second'].filter((name) => openedBy(key(name), readFileSync(path)) !== null);
const besideBackup = (id: string): string[][] =>
  readdirSync(join(disk(), id, 'keys'))
    .filter((name) => name.startsWith('epoch-'))
    .map((name) => openers(join(disk(), id, 'keys', name)));
const besideSheet = (): Record<string, string[]> =>
  Object.fromEntries(readdirSync(join(disk(), 'rescue')).map((name) => [name, openers(join(disk(), 'rescue', name))]));
const accept = (...more: string[]): Promise<Shown> => steward.shell('backup', 'keys', 'accept', '--break-glass', 'this is a test', ...more);

test('a backup that nobody has shown to be able to open is made, and is not proven', async () => {
  const made = await steward.alice.ask('!backup create');
  expect(resultOf(made)).toMatchObject({ outcome: 'done' });
  expect(bodyOf(made)).toContain('content: L4');
  expect(bodyOf(made)).toContain('Not proven: nobody has shown to be able to open it. !backup keys');
  expect(bodyOf(await steward.alice.ask('!backup info latest'))).toContain('nobody has shown to be able to open it');
  expect(bodyOf(await steward.alice.ask('!backup list'))).toContain('1 of these are not proven');
  expect(await doctor()).toMatch(/none of 1 backups is proven: nobody has shown to be able to open one/);
  expect(await doctor()).toContain('steward backup keys has a challenge');
});

test('the challenge opens with stock age and the right key alone, and its code makes what is there proven', async () => {
  const shown = bodyOf(await steward.alice.ask('!backup keys'));
  const lines = /age -d -i my\.key <<'END'\n[\s\S]*?\nEND/.exec(shown)?.[0] ?? 'false';
  const atTheDesk = (name: string): string => spawnSync('sh', ['-c', lines.replace('my.key', key(name))], { encoding: 'utf8' }).stdout;
  expect(atTheDesk('second')).toBe('');
  const line = atTheDesk('first').trim();
  expect(line).toMatch(/^backup keys confirm [0-9A-F]{4}(-[0-9A-F]{4}){3}$/);
  const wrong = line.replace(/.$/, (last) => (last === '0' ? '1' : '0'));
  expect(resultOf(await steward.alice.ask(`!${wrong}`))).toMatchObject({ outcome: 'refused', error_id: 'backup.wrong-code' });
  expect((await recipients()).map(({ confirmed }) => confirmed)).toEqual([null]);
  // The code is made again by whoever asks: a restart forgets none.
  await steward.kill();
  await steward.start();
  expect(bodyOf(await steward.alice.ask(`!${line}`))).toContain('can be opened: that is shown.');
  expect(await recipients()).toMatchObject([{ recipient: first, accepted: true, configured: true, challenge: null }]);
  expect(await doctor()).toMatch(/the newest proven backup, \d+_\d+ in disk/);
  expect(bodyOf(await steward.alice.ask('!backup list'))).not.toContain('not proven:');
});

test('a change of recipients waits: backups go on to those of before, and everybody is told', async () => {
  steward.configure(backup([second]));
  await steward.reread();
  const made = await steward.alice.ask('!backup create');
  expect(bodyOf(made)).toContain(
    'The configuration names other recipients of backups, and backups go on to those of before. !backup keys accept',
  );
  expect(besideBackup(newest())).toEqual([['first']]);
  expect(await doctor()).toContain('the configuration names other recipients');
  expect(bodyOf(await steward.alice.ask('!backup keys'))).toContain('waits to be accepted');
  expect(await recipients()).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ recipient: first, accepted: true, configured: false }),
      expect.objectContaining({ recipient: second, accepted: false, configured: true, confirmed: null }),
    ]),
  );
  const plan = await shell('backup', 'keys', 'accept', '--dry-run');
  for (const recipient of [first, second]) expect(plan).toContain(recipient);
  expect(plan).toContain('catastrophic');
  // Not by one person alone.
  const asked = await steward.alice.say('!backup keys accept');
  expect(resultOf(await steward.alice.answer(asked))).toMatchObject({ outcome: 'refused' });
  expect(await recipients()).toEqual(expect.arrayContaining([expect.objectContaining({ recipient: second, accepted: false })]));
});

test('once it is approved an epoch begins for the new ones, and a key that is given opens the old ones to them', async () => {
  expect(Object.values(besideSheet())).toEqual([['first']]);
  const changed = await accept('--identity-file', key('first'));
  expect(changed).toMatchObject({ exit: 0 });
  expect(changed.out).toContain('1 added, 1 removed');
  expect(changed.out).toContain('Sealed to them too');
  expect(Object.values(besideSheet())).toEqual([['second'], ['second']]);
  // What a backup is signed with stays as it was.
  expect(besideBackup(newest())).toEqual([['first']]);
  expect((await steward.shell('backup', 'verify', 'latest', '--level', '1')).exit).toBe(0);

  // By Steward the new one opens what was made before, too.
  const [old = ''] = readdirSync(disk()).filter((name) => /^\d/.test(name));
  const verified = await steward.alice.say(`!backup verify ${old} --level 2`);
  const request = bodyOf(await steward.alice.hears((body) => body.includes('🔑')));
  const lines = /age -d -i my\.key <<'END' [\s\S]*?\nEND/.exec(request)?.[0] ?? 'false';
  const opened = spawnSync('sh', ['-c', lines.replace('my.key', key('second'))], { encoding: 'utf8' }).stdout;
  expect(resultOf(await steward.bob.ask(`!backup unlock\n\`\`\`\n${opened}\n\`\`\``))).toMatchObject({ outcome: 'done' });
  expect(bodyOf(await steward.alice.answer(verified))).toContain('L2, opened and read to its end');

  const made = await steward.alice.ask('!backup create');
  expect(bodyOf(made)).toContain('Not proven');
  expect(besideBackup(newest()).every((who) => String(who) === 'second')).toBe(true);
  expect(await doctor()).toContain('nobody has shown to be able to open newer ones');
  await confirmKeys(shell, key('second'));
  expect(await doctor()).toContain(`the newest proven backup, ${newest()} in disk`);
  expect(await accept()).toMatchObject({ err: expect.stringContaining('backup.no-change') });
});

test('a mounted key shows by itself that it opens backups, once it is accepted', async () => {
  await makeAgeKey(join(steward.dir, 'secrets/mounted'));
  steward.configure(backup([second], 'secrets/mounted'));
  await steward.reread();
  expect(await recipients()).toEqual(
    expect.arrayContaining([expect.objectContaining({ name: 'Steward’s own', accepted: false, confirmed: null })]),
  );
  expect((await accept()).exit).toBe(0);
  expect(await recipients()).toEqual(
    expect.arrayContaining([expect.objectContaining({ name: 'Steward’s own', accepted: true, confirmed: expect.any(String) })]),
  );
  expect(bodyOf(await steward.alice.ask('!backup create'))).not.toContain('Not proven');
  expect(besideBackup(newest())).toContainEqual(['second']);
  expect((await steward.shell('backup', 'verify', 'latest', '--level', '2')).exit).toBe(0);
});

describe('in an encrypted room', () => {
  let secure: Steward;
  const safe = (): string => join(dir, 'safe');
  const sealedTo = (recipient: string): Record<string, Record<string, unknown>> => ({
    backup: { destinations: { safe: { directory: safe() } }, keys: { recipients: [recipient] } },
  });

  /** Makes a backup. @returns which of the keys opens its database, by the program `age` and what lies in its folder */
  async function openersOfNext(): Promise<string[]> {
    expect(resultOf(await secure.alice.ask('!backup create'))?.outcome).toBe('done');
    return openersOfDatabase(newest(safe()));
  }

  function openersOfDatabase(id: string): string[] {
    const epochs = readdirSync(join(safe(), id, 'keys')).filter((name) => name.startsWith('epoch-'));
    return ['first', 'second'].filter((name) =>
      epochs.some((epoch) => opensDatabase(id, openedBy(key(name), readFileSync(join(safe(), id, 'keys', epoch))))),
    );
  }

  /** @param half the private half of an epoch, or null */
  function opensDatabase(id: string, half: string | null): boolean {
    if (half === null) return false;
    const [database = ''] = readdirSync(join(safe(), id, 'database'));
    writeFileSync(join(dir, 'half.key'), half, { mode: 0o600 });
    return openedBy(join(dir, 'half.key'), readFileSync(join(safe(), id, 'database', database))) !== null;
  }

  beforeAll(async () => {
    secure = await home.steward({
      encrypted: true,
      config: {
        stack: { homeserver_config: [home.synapse.configPath] },
        approval: { countdown: '1s' },
        ...sealedTo(first),
      },
    });
  });

  test('a change is approved by the code that another owner types, and not by ✅', async () => {
    expect(await openersOfNext()).toEqual(['first']);
    secure.configure(sealedTo(second));
    await secure.reread();
    const said = await secure.alice.say('!backup keys accept');
    const prompt = await secure.alice.prompt(said);
    expect(prompt.content['m.mentions']).toEqual({ user_ids: [home.userId('bob')] });
    for (const recipient of [first, second]) expect(bodyOf(prompt)).toContain(recipient);

    await secure.bob.react(prompt.event_id, '✅');
    expect(resultOf(await secure.bob.answer(prompt.event_id))).toMatchObject({ error_id: 'approval.must-be-typed' });
    expect(resultOf(await secure.alice.ask(`!approve ${codeIn(prompt)}`))).toMatchObject({ error_id: 'approval.own-request' });
    expect(await openersOfNext()).toEqual(['first']);

    await secure.bob.ask(`!approve ${codeIn(prompt)}`);
    const done = await secure.alice.answer(said, 30_000);
    expect(resultOf(done)).toMatchObject({ command: 'backup keys accept', outcome: 'done' });
    expect(bodyOf(done)).toContain('asked by alice, approved by bob');
    expect(bodyOf(done)).toContain('!backup keys reseal has one of them opened for the new ones');
    expect(await openersOfNext()).toEqual(['second']);
  });

  /** The next request for keys. @param cause what makes Steward ask */
  async function requestAfter(cause: () => Promise<unknown>): Promise<string> {
    const seen = new Set((await secure.alice.history()).map(({ event_id: id }) => id));
    await cause();
    return bodyOf(await secure.alice.hears((body, { event_id: id }) => body.includes('🔑') && !seen.has(id)));
  }

  const resealAsked = async (): Promise<{ said: string; request: string }> => {
    const said = await secure.alice.say('!backup keys reseal');
    const prompt = await secure.alice.prompt(said);
    return { said, request: await requestAfter(() => secure.alice.react(prompt.event_id, '✅')) };
  };
  const atTheDesk = (request: string, name: string): string =>
    spawnSync('sh', ['-c', /age -d -i my\.key <<'END' [\s\S]*?\nEND/.exec(request)?.[0].replace('my.key', key(name)) ?? 'false'], {
      encoding: 'utf8',
    }).stdout;
  /** The database of a backup, by a key and the sealed epochs beside the rescue sheet. */
  const isOpenedBySheet = (id: string, name: string): boolean =>
    readdirSync(join(safe(), 'rescue'))
      .filter((file) => file.endsWith('.age'))
      .some((file) => opensDatabase(id, openedBy(key(name), readFileSync(join(safe(), 'rescue', file)))));

  test('the keys of before are opened by who has one, for the new ones; who refuses or is away leaves them as they were', async () => {
    const [old = ''] = readdirSync(safe()).filter((name) => /^\d/.test(name));
    expect(openersOfDatabase(old)).toEqual(['first']);
    expect(isOpenedBySheet(old, 'second')).toBe(false);
    expect(bodyOf(await secure.alice.ask('!backup keys'))).toContain('!backup keys reseal seals those of');

    // Nobody answers: the acceptance stands, and backups are made meanwhile.
    const refused = await resealAsked();
    expect(await openersOfNext()).toEqual(['second']);
    await secure.bob.ask(`!job cancel ${/backup unlock ([a-z0-9]{10})/.exec(refused.request)?.[1] ?? ''}`);
    expect(resultOf(await secure.alice.answer(refused.said))).toMatchObject({ outcome: 'refused', error_id: 'job.cancelled' });
    expect(isOpenedBySheet(old, 'second')).toBe(false);
    expect(await openersOfNext()).toEqual(['second']);

    // A kill cuts off no question.
    const { said } = await resealAsked();
    await secure.kill();
    const request = await requestAfter(() => secure.start());
    const unlock = (name: string): Promise<RoomEvent> => secure.bob.ask(`!backup unlock\n\`\`\`\n${atTheDesk(request, name)}\n\`\`\``);
    expect(resultOf(await unlock('second'))).toMatchObject({ error_id: 'backup.wrong-unlock' });
    expect(resultOf(await unlock('first'))).toMatchObject({ outcome: 'done' });
    const done = await secure.alice.answer(said);
    expect(resultOf(done)).toMatchObject({ command: 'backup keys reseal', outcome: 'done' });
    expect([isOpenedBySheet(old, 'second'), isOpenedBySheet(old, 'first')]).toEqual([true, false]);
    // What a backup is signed with stays as it was.
    expect(openersOfDatabase(old)).toEqual(['first']);
    expect(resultOf(await secure.alice.ask('!backup keys reseal'))).toMatchObject({ error_id: 'backup.nothing-to-reseal' });
  });

  test('in the shell the key may come with the command', async () => {
    secure.configure(sealedTo(first));
    await secure.reread();
    expect((await secure.shell('backup', 'keys', 'accept', '--break-glass', 'this is a test')).exit).toBe(0);
    const reseal = (name: string) => secure.shell('backup', 'keys', 'reseal', '--yes', '--identity-file', key(name));
    const [old = ''] = readdirSync(safe()).filter((name) => /^\d/.test(name));
    expect((await reseal('first')).err).toContain('backup.no-key');
    expect(isOpenedBySheet(old, 'first')).toBe(false);
    expect(await reseal('second')).toMatchObject({ exit: 0 });
    expect(isOpenedBySheet(old, 'first')).toBe(true);
  });
});
