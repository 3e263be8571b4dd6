import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { type MatrixClient, openClient } from '../../kit/client.ts';
import { type Postgres, sql, startPostgres } from '../../kit/postgres.ts';
import { type FaultAction, type ProxiedRequest, type Proxy, startProxy } from '../../kit/proxy.ts';
import { startSynapse, type Synapse } from '../../kit/synapse.ts';

jest.setTimeout(60_000);

let synapse: Synapse;
let proxy: Proxy;

beforeAll(async () => {
  synapse = await startSynapse();
  proxy = await startProxy(synapse.url);
});

afterAll(async () => {
  await proxy.stop();
  await synapse.dispose();
});

async function person(localpart: string): Promise<MatrixClient> {
  const account = await synapse.register({ localpart });
  return openClient({ ...account, url: proxy.url });
}

describe('Synapse', () => {
  test('keeps accounts and address over a kill', async () => {
    const account = await synapse.register({ localpart: 'erin', admin: true, displayname: 'Erin' });
    const erin = openClient({ ...account, url: synapse.url });
    await synapse.kill();
    expect(synapse.isRunning).toBe(false);
    await synapse.start();
    expect(await erin.request('GET', '/_matrix/client/v3/account/whoami')).toMatchObject({
      user_id: '@erin:steward.test',
      device_id: account.deviceId,
    });
    expect(await erin.request('GET', '/_synapse/admin/v2/users/@erin:steward.test')).toMatchObject({ admin: true, displayname: 'Erin' });
  });

  test('says why an account was not made', async () => {
    await synapse.register({ localpart: 'frank' });
    await expect(synapse.register({ localpart: 'frank' })).rejects.toThrow('M_USER_IN_USE');
  });

  test('runs on a PostgreSQL whose owner may nothing else', async () => {
    const postgres: Postgres = await startPostgres();
    try {
      const database = await postgres.createDatabase({ name: 'synapse' });
      await expect(sql(database, 'CREATE DATABASE other')).rejects.toThrow('permission denied');
      await expect(sql({ ...database, password: 'wrong' }, 'SELECT 1')).rejects.toThrow('authentication failed');
      const other = await startSynapse({ database: { postgres: database }, serverName: 'other.test' });
      await other.register({ localpart: 'grace' });
      await other.dispose();
      await postgres.kill();
      await postgres.start();
      expect(await sql(database, 'SELECT name FROM users')).toBe('@grace:other.test\n');
    } finally {
      await postgres.dispose();
    }
  });
});

describe('a room seen by two clients', () => {
  test('messages, reactions, edits, files and redactions arrive in order, also past a gap', async () => {
    const alice = await person('alice');
    const bob = await person('bob');
    const seen = await bob.timeline();
    const room = await alice.createRoom({ preset: 'private_chat', invite: [bob.userId] });
    expect(await seen.waitForInvite()).toEqual({ roomId: room, sender: alice.userId });
    await bob.join(room);
    const hello = await alice.send(room, 'hello');
    const reaction = await alice.react(room, hello, '✅');
    await alice.edit(room, hello, 'hello!');
    const file = await alice.sendFile(room, { name: 'list.txt', bytes: 'a\nb\n', contentType: 'text/plain', caption: '!import' });
    await alice.redact(room, reaction);
    const last = await seen.waitFor((event) => event.type === 'm.room.redaction', 5_000, hello);
    expect(last.content['redacts'] ?? last.redacts).toBe(reaction);
    const sent = await seen.waitFor((event) => event.event_id === file);
    expect((await bob.download(sent.content['url'] as string)).toString()).toBe('a\nb\n');
    await Promise.all(Array.from({ length: 150 }, (_, n) => alice.send(room, `burst ${n}`)));
    const end = await alice.send(room, 'end');
    await seen.waitFor((event) => event.event_id === end);
    expect(
      new Set(seen.events.filter((event) => String(event.content['body']).startsWith('burst')).map((event) => event.content['body'])).size,
    ).toBe(150);
    await expect(seen.waitFor((event) => event.type === 'never', 100)).rejects.toThrow('"body":"end"');
    seen.stop();
  });
});

describe('each fault of the proxy', () => {
  let carol: MatrixClient;
  let room: string;
  beforeAll(async () => {
    carol = await person('carol');
    room = await carol.createRoom();
  });

  const isSend = ({ path }: ProxiedRequest) => path.includes('/send/');
  const bodies = async () => (await carol.messages(room)).map((event) => event.content['body']);
  const plan = (name: string, action: FaultAction) => proxy.fault({ name, match: isSend, action });

  test('an answer of its own, once', async () => {
    const fault = plan('429', { status: 429, body: { errcode: 'M_LIMIT_EXCEEDED', retry_after_ms: 5 }, headers: { 'retry-after': '1' } });
    await expect(carol.send(room, 'limited')).rejects.toMatchObject({ status: 429, errcode: 'M_LIMIT_EXCEEDED' });
    await carol.send(room, 'after the limit');
    expect(fault.hits).toBe(1);
    expect(await bodies()).not.toContain('limited');
  });

  test('200 with the write dropped', async () => {
    plan('drop', { drop: { event_id: '$lie' } });
    expect(await carol.send(room, 'dropped')).toBe('$lie');
    expect(await bodies()).not.toContain('dropped');
  });

  test('no answer', async () => {
    plan('hang', 'hang');
    const path = `/_matrix/client/v3/rooms/${room}/send/m.room.message/1`;
    await expect(carol.request('PUT', path, { msgtype: 'm.text', body: 'hung' }, AbortSignal.timeout(200))).rejects.toThrow('timeout');
    expect(await bodies()).not.toContain('hung');
  });

  test('a cut before the server hears of it', async () => {
    plan('reset', 'reset');
    await expect(carol.send(room, 'cut')).rejects.toThrow('fetch failed');
    expect(await bodies()).not.toContain('cut');
  });

  test('a cut after the server has done it', async () => {
    plan('forward-then-reset', 'forward-then-reset');
    await expect(carol.send(room, 'done and cut')).rejects.toThrow('fetch failed');
    expect(await bodies()).toContain('done and cut');
  });

  test('half an answer', async () => {
    plan('half', 'half');
    await expect(carol.send(room, 'half')).rejects.toThrow('JSON');
    expect(await bodies()).toContain('half');
  });

  test('a late answer', async () => {
    plan('delay', { delay: 300 });
    const begin = performance.now();
    await carol.send(room, 'late');
    expect(performance.now() - begin).toBeGreaterThan(300);
  });

  test('a server that is gone', async () => {
    await synapse.stop();
    await expect(carol.send(room, 'nobody there')).rejects.toMatchObject({ status: 502, errcode: null });
    await synapse.start();
    await carol.send(room, 'there again');
  });

  test('what was asked is written down, without tokens', () => {
    const last = proxy.requests.findLast(isSend);
    expect(last).toMatchObject({ method: 'PUT', status: 200, body: { body: 'there again' } });
    expect(JSON.stringify(proxy.requests)).not.toContain(carol.accessToken);
  });

  test('a planned fault that was never reached is told', () => {
    proxy.assertAllReached();
    const never = proxy.fault({ name: 'not to be met', match: () => false, action: 'hang' });
    expect(() => proxy.assertAllReached()).toThrow('not to be met');
    never.remove();
  });
});
