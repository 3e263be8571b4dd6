import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ageDecrypt, makeAgeKey } from '../../kit/age.ts';
import { openClient, type MatrixClient, type RoomEvent } from '../../kit/client.ts';
import { downloadFile } from '../../kit/encrypted-client.ts';
import { Homeserver } from './support/homeserver.ts';
import { answeredBy, bodyOf, codeIn, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';
import { until } from './support/until.ts';
import { openWebhook } from './support/webhook.ts';

/** What waits for another person, on a real homeserver. Whether it ran is seen by another admin. */

jest.setTimeout(90_000);

let home: Homeserver;
let steward: Steward;
/** One with three persons, of whom alice has two accounts. */
let several: Steward;
let alice2: MatrixClient;
let made = 0;

beforeAll(async () => {
  home = await Homeserver.start();
  steward = await home.steward();
  alice2 = openClient({ ...(await home.register('alice2')), url: home.synapse.url });
  several = await home.steward({ config: { people: threePeople() }, start: false });
  await home.alice.client.invite(several.roomId, alice2.userId);
  await alice2.join(several.roomId);
  await several.start();
});

afterAll(() => home.dispose());

const sentinel = '!server version';

function threePeople(): Record<string, unknown> {
  const owner = (...names: string[]): object => ({ user_ids: names.map((name) => home.userId(name)), roles: ['owner'] });
  return { alice: owner('alice', 'alice2'), bob: owner('bob'), carol: owner('carol') };
}

/** What a server admin may do with the Admin API: be somebody else. */
async function forged(localpart: string): Promise<MatrixClient> {
  const userId = home.userId(localpart);
  const path = `/_synapse/admin/v1/users/${encodeURIComponent(userId)}/login`;
  const { access_token: accessToken } = await home.alice.client.request<{ access_token: string }>('POST', path, {});
  return openClient({ url: home.synapse.url, userId, accessToken });
}

interface Asked {
  name: string;
  /** The event of the command. */
  said: string;
  prompt: RoomEvent;
  isGone: () => Promise<boolean>;
}

/** alice asks to deactivate a new account. */
async function asked(of: Steward = steward, line = '!user deactivate NAME'): Promise<Asked> {
  made += 1;
  const name = `victim${made}`;
  await home.register(name);
  const said = await of.alice.say(line.replace('NAME', name));
  return { name, said, prompt: await of.alice.prompt(said), isGone: async () => (await home.account(name))?.deactivated === true };
}

describe('destructive', () => {
  test('waits for ✅ of another person; the prompt says all of it, and pings who may approve', async () => {
    const { name, said, prompt, isGone } = await asked();

    expect(prompt.content).toMatchObject({ msgtype: 'm.text', 'm.mentions': { user_ids: [home.userId('bob')] } });
    for (const part of [home.userId(name), 'Asked by alice', 'Cannot be undone', 'within 12 h (until 20', 'bob: react ✅'])
      expect(bodyOf(prompt)).toContain(part);
    expect(await isGone()).toBe(false);
    await steward.bob.react(prompt.event_id, '✅');
    const answer = await steward.alice.answer(said);

    expect(resultOf(answer)).toMatchObject({ command: 'user deactivate', outcome: 'done', job_id: resultOf(prompt)?.job_id });
    expect(bodyOf(answer)).toContain('asked by alice, approved by bob');
    expect(await isGone()).toBe(true);
  });

  test('is refused to the person who asked, told once, and survives kill and start', async () => {
    const { said, prompt, isGone } = await asked();
    await steward.alice.react(prompt.event_id, '✅');
    const told = await steward.alice.answer(prompt.event_id);
    expect(resultOf(told)).toMatchObject({ outcome: 'refused', error_id: 'approval.own-request' });
    await steward.kill();
    await steward.start();
    await steward.alice.ask(sentinel);
    expect(await isGone()).toBe(false);

    await steward.bob.react(prompt.event_id, '✅');

    expect(resultOf(await steward.alice.answer(said))?.outcome).toBe('done');
    expect(await isGone()).toBe(true);
  });
});

describe('who may not approve', () => {
  test('a second account of the person who asked', async () => {
    const { prompt, isGone } = await asked(several);
    await alice2.react(several.roomId, prompt.event_id, '✅');

    expect(resultOf(await several.alice.answer(prompt.event_id))).toMatchObject({ error_id: 'approval.own-request' });
    await several.alice.ask(sentinel);
    expect(await isGone()).toBe(false);
  });

  test('whoever reacts on something that only looks like the prompt, or edits it', async () => {
    const { prompt, isGone } = await asked();
    const alike = await steward.carol.say(bodyOf(prompt), { 'org.steward.result': prompt.content['org.steward.result'] });
    await steward.bob.react(alike, '✅');
    await steward.bob.client.edit(steward.roomId, alike, '✅');
    await steward.bob.ask(sentinel);
    expect(await isGone()).toBe(false);
  });

  test('whose role does not include it', async () => {
    const narrow = await home.steward({
      config: {
        roles: { owner: { owner: true }, helper: { request: { tier: 'catastrophic' }, approve: { groups: ['server'] } } },
        people: {
          alice: { user_ids: [home.userId('alice')], roles: ['owner'] },
          bob: { user_ids: [home.userId('bob')], roles: ['helper'] },
          carol: { user_ids: [home.userId('carol')], roles: ['owner'] },
        },
      },
    });
    const { said, prompt, isGone } = await asked(narrow);
    await narrow.bob.react(prompt.event_id, '✅');
    expect(resultOf(await narrow.bob.answer(prompt.event_id))).toMatchObject({ error_id: 'approval.not-allowed' });
    expect(bodyOf(await narrow.bob.ask('!me roles'))).toContain('may approve: server up to catastrophic');
    expect(await isGone()).toBe(false);
    await narrow.carol.react(prompt.event_id, '✅');
    expect(resultOf(await narrow.alice.answer(said))?.outcome).toBe('done');
  });

  test('anybody, when the time is over', async () => {
    const hasty = await home.steward({ config: { approval: { destructive: '2s' } } });
    const { said, prompt, isGone } = await asked(hasty);
    const told = await hasty.alice.answer(said);
    expect(resultOf(told)).toMatchObject({ outcome: 'refused', error_id: 'access.expired' });
    expect(bodyOf(told)).toContain('nobody approved it within 2 s');
    await hasty.bob.react(prompt.event_id, '✅');
    await hasty.bob.ask(sentinel);
    expect(await isGone()).toBe(false);
  });
});

test('two approvals at the same instant are one run', async () => {
  const { said, prompt, isGone } = await asked(several);
  await Promise.all([several.bob.react(prompt.event_id, '✅'), several.carol.react(prompt.event_id, '✅')]);
  await several.alice.answer(said);
  await several.alice.ask(sentinel);
  expect((await several.alice.answers(said)).map((event) => resultOf(event)?.outcome)).toEqual(['waiting', 'done']);
  expect(await isGone()).toBe(true);
});

test('❌ of another person ends it, and says who', async () => {
  const { said, prompt, isGone } = await asked();
  await steward.bob.react(prompt.event_id, '❌');
  const told = await steward.alice.answer(said);
  expect(resultOf(told)).toMatchObject({ outcome: 'refused', error_id: 'approval.vetoed' });
  expect(bodyOf(told)).toContain('bob refused it');
  await steward.bob.react(prompt.event_id, '✅');
  await steward.bob.ask(sentinel);
  expect(await isGone()).toBe(false);
});

test('what is not as it was shown does not run, and the difference is shown', async () => {
  const { name, said, prompt, isGone } = await asked();
  await home.alice.client.request('PUT', `/_synapse/admin/v2/users/${encodeURIComponent(home.userId(name))}`, { displayname: 'Renamed' });
  await steward.bob.react(prompt.event_id, '✅');
  const told = await steward.alice.answer(said);
  expect(resultOf(told)).toMatchObject({ outcome: 'refused', error_id: 'access.plan-changed' });
  expect(bodyOf(told)).toContain(`was: deactivate ${home.userId(name)}`);
  expect(bodyOf(told)).toContain(`now: deactivate ${home.userId(name)} (Renamed)`);
  expect(await isGone()).toBe(false);
});

test('✅ given while Steward was away is asked again, and the earlier prompt counts no more', async () => {
  const { said, prompt, isGone } = await asked();
  await steward.stop();
  await steward.bob.react(prompt.event_id, '✅');
  await steward.start();
  const again = await steward.alice.prompt(said, prompt.event_id);
  expect(bodyOf(again)).toContain('while I was away');
  await steward.bob.ask(sentinel);
  expect(await isGone()).toBe(false);
  await steward.bob.react(again.event_id, '✅');
  expect(resultOf(await steward.alice.answer(said))?.outcome).toBe('done');
});

test('a requester who loses the role loses what is pending, and hears why', async () => {
  const strict = await home.steward();
  const { said, isGone } = await asked(strict);
  strict.configure({
    people: { alice: { user_ids: [home.userId('alice')], roles: [] }, bob: { user_ids: [home.userId('bob')], roles: ['owner'] } },
  });
  strict.reload();
  const told = await strict.alice.answer(said);
  expect(resultOf(told)).toMatchObject({ outcome: 'refused', error_id: 'access.role-lost' });
  expect(await isGone()).toBe(false);
});

test('✅ that a server admin forges by logging in as bob is accepted for what is destructive', async () => {
  const { said, prompt, isGone } = await asked();
  const bob = await forged('bob');
  await bob.react(steward.roomId, prompt.event_id, '✅');
  expect(bodyOf(await steward.alice.answer(said))).toContain('approved by bob');
  expect(await isGone()).toBe(true);
});

test('who gives commands too fast is told once', async () => {
  const slow = await home.steward({ config: { limits: { per_minute: 2 } } });
  await slow.alice.ask(sentinel);
  await slow.alice.ask(sentinel);
  expect(resultOf(await slow.alice.ask(sentinel))).toMatchObject({ outcome: 'refused', error_id: 'access.rate-limited' });
  const silent = await slow.alice.say(sentinel);
  await slow.bob.ask(sentinel);
  expect(await slow.alice.answers(silent)).toEqual([]);
});

describe('the shell', () => {
  test('asks in the room, and waits for one person there', async () => {
    made += 1;
    const name = `victim${made}`;
    await home.register(name);
    const shell = steward.shell('user', 'deactivate', name);
    const prompt = await steward.bob.hears((body) => body.includes('which names no person') && body.includes(home.userId(name)));
    expect(prompt.content['m.mentions']).toEqual({ user_ids: [home.userId('alice'), home.userId('bob')] });
    await steward.bob.react(prompt.event_id, '✅');
    const { exit, out, err } = await shell;
    expect(exit).toBe(0);
    expect(err).toContain('Ctrl-C takes the request back');
    expect(out).toContain('asked by the shell, approved by bob');
    expect((await home.account(name))?.deactivated).toBe(true);
  });

  test('Ctrl-C takes the request back: ✅ after it runs nothing', async () => {
    made += 1;
    const name = `victim${made}`;
    await home.register(name);
    const shell = steward.startShell('user', 'deactivate', name);
    const prompt = await steward.bob.hears((body) => body.includes('which names no person') && body.includes(home.userId(name)));
    shell.interrupt();
    expect((await shell.ended).exit).toBe(-1);
    const isTold = (event: RoomEvent): boolean =>
      resultOf(event)?.job_id === resultOf(prompt)?.job_id && event.event_id !== prompt.event_id;
    expect(resultOf(await steward.alice.hears((_, event) => isTold(event)))).toMatchObject({ outcome: 'refused' });
    await steward.bob.react(prompt.event_id, '✅');
    await steward.bob.ask(sentinel);
    expect((await home.account(name))?.deactivated).toBe(false);
    expect(bodyOf(await steward.bob.ask('!approval list'))).not.toContain(home.userId(name));
  });

  test('runs without anybody by --break-glass, which is told in the room and off the homeserver', async () => {
    const hook = await openWebhook();
    const alerted = await home.steward({ config: { alerts: { webhook: { url_file: 'secrets/hook' } } }, start: false });
    alerted.putSecret('hook', hook.url);
    await alerted.start();
    made += 1;
    const name = `victim${made}`;
    await home.register(name);
    const { exit } = await alerted.shell('user', 'deactivate', name, '--break-glass', 'nobody answers at 3 am');
    expect(exit).toBe(0);
    expect((await home.account(name))?.deactivated).toBe(true);
    await alerted.bob.hears((body) => body.includes('Without an approval') && body.includes('nobody answers at 3 am'));
    await until(() => hook.alerts.some(({ body }) => body.includes('nobody answers at 3 am')), 10_000, 'the alert arrives');
    hook.close();
  });

  test('without a daemon there is nobody to ask', async () => {
    const alone = await home.steward({ start: false });
    const { exit, err } = await alone.shell('user', 'deactivate', 'nobody-such');
    expect(exit).not.toBe(0);
    made += 1;
    await home.register(`victim${made}`);
    const refused = await alone.shell('user', 'deactivate', `victim${made}`);
    expect(refused.exit).toBe(3);
    expect(refused.err).toContain('approval.no-room');
    expect(refused.err).toContain('--break-glass');
    expect(err).not.toContain('approval.no-room');
    expect((await home.account(`victim${made}`))?.deactivated).toBe(false);
  });
});

test('in mode `single` the person who asked types the target', async () => {
  const single = await home.steward({ config: { approval: { mode: 'single' } } });
  const { name, said, prompt, isGone } = await asked(single);
  expect(bodyOf(prompt)).toContain(`!approve ${home.userId(name)}`);
  await single.alice.react(prompt.event_id, '✅');
  expect(resultOf(await single.alice.answer(prompt.event_id))).toMatchObject({ error_id: 'approval.must-be-typed' });
  expect(resultOf(await single.bob.ask(`!approve ${home.userId(name)}`))).toMatchObject({ error_id: 'approval.wrong-code' });
  expect(await isGone()).toBe(false);
  await single.alice.ask(`!approve ${home.userId(name)}`);
  expect(resultOf(await single.alice.answer(said))?.outcome).toBe('done');
  expect(await isGone()).toBe(true);
});

test('in a room that is not encrypted nothing catastrophic is asked', async () => {
  expect(resultOf(await steward.alice.ask('!user create root1 --admin'))).toMatchObject({ error_id: 'approval.plain-room' });
  expect(await home.account('root1')).toBeNull();
});

describe('catastrophic, in an encrypted room', () => {
  let secure: Steward;

  beforeAll(async () => {
    secure = await home.steward({
      encrypted: true,
      config: { approval: { countdown: '4s' }, people: threePeople() },
    });
  });

  /** alice asks for a new server admin. */
  async function askedForAdmin(): Promise<{ name: string; said: string; prompt: RoomEvent; code: string }> {
    made += 1;
    const name = `root-${made}`;
    const said = await secure.alice.say(`!user create ${name} --admin`);
    const prompt = await secure.alice.prompt(said);
    return { name, said, prompt, code: codeIn(prompt) };
  }
  const counting = (name: string): Promise<RoomEvent> => secure.alice.hears((body) => body.includes('runs in') && body.includes(name));

  test('another person types the code, a countdown runs, then it is done', async () => {
    const { name, said, prompt, code } = await askedForAdmin();
    await secure.bob.react(prompt.event_id, '✅');
    expect(resultOf(await secure.bob.answer(prompt.event_id))).toMatchObject({ error_id: 'approval.must-be-typed' });
    expect(resultOf(await secure.alice.ask(`!approve ${code}`))).toMatchObject({ error_id: 'approval.own-request' });
    expect(resultOf(await secure.bob.ask('!approve 0000-00'))).toMatchObject({ error_id: 'approval.wrong-code' });
    expect(await home.account(name)).toBeNull();

    expect(bodyOf(await secure.bob.ask(`!approve ${code.toLowerCase()}`))).toContain('Approved');
    await counting(name);
    expect(await home.account(name)).toBeNull();
    const answer = await secure.alice.answer(said);
    expect(bodyOf(answer)).toContain('asked by alice, approved by bob');
    expect(await home.account(name)).toMatchObject({ admin: true });

    // The room holds the head of the audit from then on.
    const posted = await secure.bob.hears((_, { content }) => content['org.steward.audit_head'] !== undefined);
    const { seq, hash } = posted.content['org.steward.audit_head'] as { seq: number; hash: string };
    const records = secure.audit();
    expect(records.find((record) => record.seq === seq)?.hash).toBe(hash);
    const job = resultOf(answer)?.job_id;
    expect(seq).toBeGreaterThanOrEqual(records.find(({ record }) => record.event === 'job.done' && record.job_id === job)?.seq ?? Infinity);
    expect(bodyOf(posted)).toContain(hash);
  });

  test('an age key is registered with the code of another person, and opens the next password', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'steward-age-'));
    const recipient = await makeAgeKey(join(dir, 'key.txt'));
    const said = await secure.alice.say(`!me age ${recipient}`);
    const prompt = await secure.alice.prompt(said);
    expect(bodyOf(prompt)).toContain(recipient);
    await secure.bob.ask(`!approve ${codeIn(prompt)}`);
    expect(resultOf(await secure.alice.answer(said))?.outcome).toBe('done');

    const created = await secure.alice.say('!user create aged --deliver age');
    const file = await secure.alice.hears((_, event) => event.content['msgtype'] === 'm.file' && answeredBy(event) === created);
    writeFileSync(join(dir, 'password.age'), await downloadFile(home.alice.client, file.content));
    const note = await ageDecrypt(join(dir, 'key.txt'), join(dir, 'password.age'));
    rmSync(dir, { recursive: true });
    expect(await home.logsIn('aged', /^Password: (.*)$/m.exec(note)?.[1] ?? '')).toBe(true);
    await until(() => secure.audit().some(({ record }) => record.event === 'secret.handed-over'), 10_000, 'the hand-over is recorded');
    const handed = secure.audit().find(({ record }) => record.event === 'secret.handed-over');
    expect(handed?.record).toMatchObject({ targets: [home.userId('aged')] });
    expect(JSON.stringify(handed)).not.toContain('Password');
  });

  test('any operator stops it while it counts down', async () => {
    const { name, said, code } = await askedForAdmin();
    await secure.bob.ask(`!approve ${code}`);
    const countdown = await counting(name);
    await secure.carol.react(countdown.event_id, '❌');
    expect(resultOf(await secure.alice.answer(said))).toMatchObject({ outcome: 'refused', error_id: 'approval.vetoed' });
    expect(await home.account(name)).toBeNull();
  });

  test('an approval that is taken back while it counts down counts no more', async () => {
    const { name, code } = await askedForAdmin();
    const typed = await secure.bob.say(`!approve ${code}`);
    await secure.bob.answer(typed);
    await counting(name);
    await secure.bob.client.redact(secure.roomId, typed);
    await secure.alice.hears((body) => body.includes('An approval was taken back'));
    expect(bodyOf(await secure.alice.ask('!approval list'))).toContain(home.userId(name));
    expect(await home.account(name)).toBeNull();
  });

  test('a kill in the countdown begins it anew', async () => {
    const { name, said, code } = await askedForAdmin();
    await secure.bob.ask(`!approve ${code}`);
    await counting(name);
    await secure.kill();
    expect(await home.account(name)).toBeNull();
    await secure.start();
    expect(resultOf(await secure.alice.answer(said, 30_000))?.outcome).toBe('done');
    expect(await home.account(name)).toMatchObject({ admin: true });
  });

  test('a code that a server admin sends as bob, in plain, does nothing', async () => {
    const { name, code } = await askedForAdmin();
    const bob = await forged('bob');
    await bob.send(secure.roomId, `!approve ${code}`);
    await secure.alice.ask(sentinel);
    expect(bodyOf(await secure.alice.ask(`!approval info ${code}`))).toContain('pending');
    expect(await home.account(name)).toBeNull();
  });

  test('what the shell asks needs two different persons', async () => {
    made += 1;
    const name = `root-${made}`;
    const shell = secure.shell('user', 'create', name, '--admin');
    const prompt = await secure.bob.hears((body) => body.includes('which names no person') && body.includes(home.userId(name)));
    expect(bodyOf(prompt)).toContain('2 different persons of alice, bob, carol');
    const code = codeIn(prompt);
    expect(bodyOf(await secure.bob.ask(`!approve ${code}`))).toContain('1 more must approve');
    expect(bodyOf(await secure.bob.ask(`!approve ${code}`))).toContain('1 more must approve');
    expect(await home.account(name)).toBeNull();
    await secure.carol.ask(`!approve ${code}`);
    const { exit, out } = await shell;
    expect(exit).toBe(0);
    expect(out).toContain('asked by the shell, approved by bob and carol');
    expect(await home.account(name)).toMatchObject({ admin: true });
  });

  test('where there is no third person it is refused', async () => {
    const two = await home.steward({ encrypted: true });
    expect(resultOf(await two.alice.ask('!user update-password bob'))).toMatchObject({ error_id: 'approval.nobody' });
  });

  test("who resets another person's password needs a third one, and that person approves nothing for a day", async () => {
    const said = await secure.alice.say('!user update-password carol');
    const prompt = await secure.alice.prompt(said);
    expect(prompt.content['m.mentions']).toEqual({ user_ids: [home.userId('bob')] });
    const code = codeIn(prompt);
    expect(resultOf(await secure.carol.ask(`!approve ${code}`))).toMatchObject({ error_id: 'approval.is-target' });
    await secure.bob.ask(`!approve ${code}`);
    expect(resultOf(await secure.alice.answer(said, 30_000))?.outcome).toBe('done');

    const next = await asked(secure);
    expect(next.prompt.content['m.mentions']).toEqual({ user_ids: [home.userId('bob')] });
    // Her own sessions are gone with the password.
    await (await forged('carol')).react(secure.roomId, next.prompt.event_id, '✅');
    expect(resultOf(await secure.alice.answer(next.prompt.event_id))).toMatchObject({ error_id: 'approval.on-hold' });
    expect(await next.isGone()).toBe(false);
  });
});
