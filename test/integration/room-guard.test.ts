import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { HttpError, openClient } from '../../kit/client.ts';
import { Homeserver } from './support/homeserver.ts';
import { bodyOf, resultOf, Seat } from './support/seat.ts';
import type { Steward } from './support/steward.ts';
import { until } from './support/until.ts';
import { openWebhook, type Webhook } from './support/webhook.ts';

/** Who or what takes the admin room out of the hands of its people, and what becomes of Steward then. */

jest.setTimeout(90_000);

let home: Homeserver;
let hook: Webhook;

beforeAll(async () => {
  home = await Homeserver.start();
  hook = await openWebhook();
});

afterAll(async () => {
  hook.close();
  await home.dispose();
});

const locked = { outcome: 'refused', error_id: 'room.locked' };

async function guarded(): Promise<Steward> {
  const steward = await home.steward({ start: false, proxied: true, config: { alerts: { webhook: { url_file: 'secrets/hook' } } } });
  steward.putSecret('hook', hook.url);
  await steward.start();
  return steward;
}

const alertsOf = (id: string): unknown[] => hook.alerts.filter(({ alerts }) => alerts.includes(id));

/** Confirms what was asked for. */
async function confirmed(seat: Seat, line: string): Promise<ReturnType<typeof resultOf>> {
  const asked = await seat.say(line);
  const prompt = await seat.prompt(asked);
  await seat.react(prompt.event_id, '✅');
  return resultOf(await seat.answer(asked));
}

async function audited(steward: Steward): Promise<string> {
  return (await steward.shell('audit', 'list', '--limit', '100')).out;
}

describe('a stranger', () => {
  let steward: Steward;

  beforeAll(async () => {
    steward = await guarded();
  });

  test('who is invited by an owner and joins locks Steward: it reads and writes nothing until an owner acknowledges', async () => {
    const mallory = openClient({ ...(await home.synapse.register({ localpart: 'mallory' })), url: home.synapse.url });
    await home.alice.client.request('POST', `/_matrix/client/v3/rooms/${encodeURIComponent(steward.roomId)}/invite`, {
      user_id: mallory.userId,
    });
    expect(resultOf(await steward.alice.ask('!user create before'))?.outcome).toBe('done');

    await mallory.join(steward.roomId);
    const told = await steward.alice.hears((body) => body.includes('(room.stranger)'));
    expect(bodyOf(told)).toContain(mallory.userId);
    expect(told.content['msgtype']).toBe('m.text');
    expect(resultOf(await steward.bob.ask('!user create refused'))).toMatchObject(locked);
    expect(resultOf(await steward.bob.ask('!user info bob'))?.outcome).toBe('done');
    expect(await steward.shell('user', 'create', 'refused')).toMatchObject({ exit: 3, err: expect.stringContaining('(room.locked)') });
    expect(await home.account('refused')).toBeNull();
    await until(() => alertsOf('room.stranger').length === 1, 10_000, 'the web hook is told');
    expect((await steward.shell('doctor')).out).toContain('locked, reads only');

    // A restart ends nothing.
    await steward.stop();
    await steward.start();
    expect(resultOf(await steward.bob.ask('!user create refused2'))).toMatchObject(locked);

    // Whoever is no owner does not end it.
    steward.configure({
      people: {
        alice: { user_ids: [home.userId('alice')], roles: ['owner'] },
        bob: { user_ids: [home.userId('bob')], roles: ['helper'] },
      },
      roles: { owner: { owner: true }, helper: { owner: false } },
    });
    steward.reload();
    await until(
      async () => resultOf(await steward.bob.ask('!server room ack'))?.error_id === 'access.owner-only',
      10_000,
      'bob is no owner',
    );
    expect(await confirmed(steward.alice, '!server room ack')).toMatchObject({ outcome: 'done' });

    expect(resultOf(await steward.alice.ask('!user create after'))?.outcome).toBe('done');
    expect(await home.account('after')).not.toBeNull();
    await until(() => alertsOf('room.stranger').length === 2, 10_000, 'the web hook is told that it is over');
    expect(await audited(steward)).toMatch(/room\.locked[\s\S]*room\.unlocked|room\.unlocked[\s\S]*room\.locked/);

    // What was acknowledged stays so, and is still a weakness that can be mended.
    await steward.stop();
    await steward.start();
    expect(bodyOf(await steward.alice.ask('!server room check'))).toContain(`${mallory.userId} can read it`);
    expect(await confirmed(steward.alice, '!server room mend')).toMatchObject({ outcome: 'done' });
    await expect(mallory.send(steward.roomId, 'still here?')).rejects.toThrow(HttpError);
    expect(bodyOf(await steward.alice.ask('!server room check'))).toContain('is as it should be');
  });

  test('whom somebody else than an owner invites locks it at once', async () => {
    const { userId } = await home.synapse.register({ localpart: 'trent' });
    const path = `/_matrix/client/v3/rooms/${encodeURIComponent(steward.roomId)}/state/m.room.power_levels/`;
    const levels = await home.alice.client.request<Record<string, unknown>>('GET', path);
    await home.alice.client.request('PUT', path, { ...levels, users: { ...(levels['users'] as object), [home.userId('bob')]: 50 } });
    await home.bob.client.request('POST', `/_matrix/client/v3/rooms/${encodeURIComponent(steward.roomId)}/invite`, { user_id: userId });
    await until(
      async () => resultOf(await steward.alice.ask('!user create uninvited'))?.error_id === 'room.locked',
      10_000,
      'it is locked',
    );
    expect(await confirmed(steward.alice, '!server room ack')).toMatchObject({ outcome: 'done' });
    await steward.stop();
  });

  test('who joins while Steward is away locks it before anything is run', async () => {
    const late = openClient({ ...(await home.synapse.register({ localpart: 'late' })), url: home.synapse.url });
    await home.alice.client.request('POST', `/_matrix/client/v3/rooms/${encodeURIComponent(steward.roomId)}/invite`, {
      user_id: late.userId,
    });
    await late.join(steward.roomId);
    const said = await steward.alice.say('!user create toolate');
    await steward.start();
    expect(resultOf(await steward.alice.answer(said))).toMatchObject(locked);
    expect(await home.account('toolate')).toBeNull();
    await steward.stop();
  });
});

describe('a setting that another client changes', () => {
  test('is told once with the command that mends it, mended, and read back by another client', async () => {
    const steward = await guarded();
    const before = alertsOf('room.weak').length;
    await home.alice.client.setState(steward.roomId, 'm.room.join_rules', { join_rule: 'public' });
    const told = await steward.alice.hears((body) => body.includes('(room.weak)'));
    expect(bodyOf(told)).toContain('it can be joined without an invitation');
    expect(bodyOf(told)).toContain('!server room mend');
    await until(() => alertsOf('room.weak').length === before + 1, 10_000, 'the web hook is told');

    const dry = await steward.alice.ask('!server room mend --dry-run');
    expect(bodyOf(dry)).toContain('m.room.join_rules {"join_rule":"invite"}');
    const rule = async (): Promise<unknown> =>
      (
        await home.bob.client.request<Record<string, unknown>>(
          'GET',
          `/_matrix/client/v3/rooms/${encodeURIComponent(steward.roomId)}/state/m.room.join_rules/`,
        )
      )['join_rule'];
    expect(await rule()).toBe('public');

    // A proxy that answers for Synapse is found out.
    const lie = home.proxy.fault({
      name: 'lie',
      match: ({ method, path }) => method === 'PUT' && path.includes('/state/m.room.join_rules'),
      action: { drop: {} },
    });
    expect(await confirmed(steward.alice, '!server room mend')).toMatchObject({ outcome: 'failed', error_id: 'homeserver.not-done' });
    expect(lie.hits).toBe(1);
    expect(await rule()).toBe('public');

    expect(await confirmed(steward.alice, '!server room mend')).toMatchObject({ outcome: 'done' });
    expect(await rule()).toBe('invite');
    await steward.alice.hears((body) => body.startsWith('🟢 over:') && body.includes('(room.weak)'));
    expect(resultOf(await steward.alice.ask('!server room mend'))).toMatchObject({ outcome: 'refused', error_id: 'room.nothing-to-mend' });
    await steward.stop();
  });
});

describe("Steward's power", () => {
  test('taken away locks it, and given back is acknowledged', async () => {
    const steward = await guarded();
    await steward.alice.ask('!help');
    const path = `/_matrix/client/v3/rooms/${encodeURIComponent(steward.roomId)}/state/m.room.power_levels/`;
    const levels = await home.alice.client.request<{ users: Record<string, number> }>('GET', path);
    await home.alice.client.request('PUT', path, { ...levels, users: { ...levels.users, [steward.bot.userId]: 0 } });
    await steward.alice.hears((body) => body.includes('(room.power-lost)'));
    expect(resultOf(await steward.alice.ask('!user create powerless'))).toMatchObject(locked);
    await home.alice.client.request('PUT', path, levels);
    expect(await confirmed(steward.alice, '!server room ack')).toMatchObject({ outcome: 'done' });
    expect(resultOf(await steward.alice.ask('!user create powerful'))?.outcome).toBe('done');
    await steward.stop();
  });
});

describe('another room', () => {
  test('takes the place of one that somebody has replaced: made in the shell, and worked in at once and after a restart', async () => {
    const steward = await guarded();
    await steward.alice.ask('!help');
    await home.alice.client.setState(steward.roomId, 'm.room.tombstone', { body: 'gone', replacement_room: '!evil:hs.test' });
    await until(() => alertsOf('room.replaced').length > 0, 10_000, 'the web hook is told');
    expect(await steward.shell('user', 'create', 'replaced')).toMatchObject({ exit: 3 });
    expect(await steward.shell('server', 'room', 'ack', '-y')).toMatchObject({ exit: 3, err: expect.stringContaining('(room.replaced)') });

    const { exit, out, err } = await steward.shell('server', 'room', 'move', '-y', '--json');
    expect({ exit, err }).toEqual({ exit: 0, err: '' });
    const { result } = JSON.parse(out) as { result: { to: string; weaknesses: string[] } };
    expect(result.weaknesses).toEqual([]);
    for (const person of [home.alice, home.bob]) await person.client.join(result.to);
    const alice = new Seat(home.alice, result.to, steward.bot.userId);
    await until(async () => resultOf(await alice.ask('!user create moved'))?.outcome === 'done', 20_000, 'it answers there');
    await steward.stop();
    await steward.start();
    expect(resultOf(await alice.ask('!user create moved2'))?.outcome).toBe('done');
    expect((await steward.shell('doctor')).out).toContain(`Set room.id in the configuration to ${result.to}`);

    // The operator's file is believed again when it names the new one.
    await steward.stop();
    steward.configure({ room: { id: result.to } });
    await steward.start();
    expect(resultOf(await alice.ask('!server version'))?.outcome).toBe('done');
    expect((await steward.shell('doctor')).out).toMatch(/room: !\S+\n/);
    await steward.stop();
  });

  test('is moved to from the room itself, which is then closed and points to it', async () => {
    const steward = await guarded();
    // Who made the room keeps the closing of it to themselves, unless they give it away.
    const path = `/_matrix/client/v3/rooms/${encodeURIComponent(steward.roomId)}/state/m.room.power_levels/`;
    const levels = await home.alice.client.request<{ events: object }>('GET', path);
    await home.alice.client.request('PUT', path, { ...levels, events: { ...levels.events, 'm.room.tombstone': 100 } });
    const said = await steward.alice.say('!server room move -y');
    const answer = await steward.alice.answer(said, 30_000);
    expect(resultOf(answer)?.outcome).toBe('done');
    const tombstone = await home.bob.client.request<{ replacement_room: string }>(
      'GET',
      `/_matrix/client/v3/rooms/${encodeURIComponent(steward.roomId)}/state/m.room.tombstone/`,
    );
    await home.bob.client.join(tombstone.replacement_room);
    const bob = new Seat(home.bob, tombstone.replacement_room, steward.bot.userId);
    expect(resultOf(await bob.ask('!user create followed'))?.outcome).toBe('done');
    // What it did itself locks nothing.
    expect(await steward.shell('server', 'room', 'check')).toMatchObject({ exit: 0, out: expect.stringContaining('is as it should be') });
    await steward.stop();
  });
});
