import { once } from 'node:events';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { spawnSync } from 'node:child_process';
import { describe, expect, test } from '@jest/globals';
import { text } from '../../src/reply/parts.ts';
import { silentLog } from '../../src/telemetry/log.ts';
import type { ShellMessage } from '../../src/terminal/messages.ts';
import { connect, RemoteSession } from '../../src/terminal/socket-client.ts';
import { serveSocket } from '../../src/terminal/socket-server.ts';
import { version } from '../../src/version.ts';
import { end, FakeSession, folder, later, prompt, reply, request, until } from './support.ts';

async function served(session: FakeSession, path = join(folder(), 'steward.sock')): Promise<{ path: string; remote: RemoteSession }> {
  const server = await serveSocket(path, session, silentLog);
  later(() => server.close());
  const remote = await connect(path);
  if (remote === null) throw new Error('nobody answers');
  return { path, remote };
}

async function send(socketPath: string, method: string, path: string, body = ''): Promise<IncomingMessage> {
  const asked = httpRequest({ socketPath, method, path, agent: false });
  asked.end(body);
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  return response;
}

async function messagesOf(messages: AsyncIterable<ShellMessage>): Promise<ShellMessage[]> {
  const all: ShellMessage[] = [];
  for await (const message of messages) all.push(message);
  return all;
}

describe('the socket', () => {
  test('carries request and messages unchanged, also line separators that JSON leaves as they are', async () => {
    const said = [
      reply('done', { parts: [text('a\u2028b\u2029c\nd é 🙂')], jobId: 'j', result: { a: [1, null] } }),
      { type: 'data', chunk: `x\n${'é'.repeat(100_000)}` } as const,
      end,
    ];
    const session = new FakeSession(() => said);
    const { remote } = await served(session);
    const asked = { words: ['user', 'create', '@ü:x'], items: ['a b', ''], secrets: { password: 'geheim\u2028' } };
    expect(await messagesOf(remote.run(asked))).toEqual(said);
    expect(session.requests).toEqual([asked]);
    expect(remote.version).toBe(version);
    expect(await remote.decide('job1', true)).toBe(true);
    session.accepts = false;
    expect(await remote.decide('job1', false)).toBe(false);
    expect(session.decisions).toEqual([
      ['job1', true],
      ['job1', false],
    ]);
  });

  test('may be opened by its user alone, whatever the umask', async () => {
    const mask = process.umask(0);
    later(() => process.umask(mask));
    const { path } = await served(new FakeSession(() => [end]));
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(process.umask(0)).toBe(0);
  });

  test('of a daemon that was killed is taken over, of one that answers is not, and a file is left alone', async () => {
    const path = join(folder(), 'steward.sock');
    // A child that dies without closing leaves the socket file behind.
    spawnSync(process.execPath, [
      '-e',
      `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`,
    ]);
    expect(statSync(path).isSocket()).toBe(true);
    await served(new FakeSession(() => [end]), path);
    await expect(serveSocket(path, new FakeSession(() => [end]), silentLog)).rejects.toMatchObject({ id: 'store.locked' });
    expect(await connect(path)).not.toBeNull();
    const file = join(folder(), 'file');
    writeFileSync(file, 'precious');
    await expect(serveSocket(file, new FakeSession(() => [end]), silentLog)).rejects.toMatchObject({ id: 'store.unwritable' });
    expect(existsSync(file)).toBe(true);
    await expect(serveSocket(join(folder(), 'x'.repeat(120)), new FakeSession(() => [end]), silentLog)).rejects.toMatchObject({
      id: 'store.unwritable',
      hint: 'Choose a shorter `data_dir`.',
    });
  });

  test('goes with its server, and nobody is found there or where there never was one', async () => {
    const path = join(folder(), 'steward.sock');
    const server = await serveSocket(path, new FakeSession(() => [end]), silentLog);
    await server.close();
    expect(existsSync(path)).toBe(false);
    expect(await connect(path)).toBeNull();
  });

  test('answers what it does not know with an error, and takes 2 MB at most', async () => {
    const session = new FakeSession(() => [end]);
    const { path, remote } = await served(session);
    expect((await send(path, 'GET', '/v1/other')).statusCode).toBe(404);
    expect((await send(path, 'POST', '/v1/jobs/../decision', '{"yes":true}')).statusCode).toBe(404);
    for (const body of [
      '',
      'null',
      '{',
      '{"words":["a"]}',
      '{"words":[1],"items":null,"secrets":{}}',
      '{"words":[],"items":null,"secrets":{},"more":1}',
    ]) {
      expect((await send(path, 'POST', '/v1/commands', body)).statusCode).toBe(400);
    }
    expect((await send(path, 'POST', '/v1/jobs/abc/decision', '{"yes":"true"}')).statusCode).toBe(400);
    await expect(messagesOf(remote.run({ words: [], items: ['x'.repeat(2_000_000)], secrets: {} }))).rejects.toMatchObject({
      id: 'usage.input-too-large',
    });
    expect(session.requests).toEqual([]);
    expect(session.decisions).toEqual([]);
  });

  test('generates no faster than it is read, and stops when the reader goes away', async () => {
    let made = 0;
    const session = new FakeSession(async function* () {
      yield reply('done', { dataName: 'users.csv' });
      for (; made < 1000; made += 1) yield await Promise.resolve({ type: 'data', chunk: 'x'.repeat(100_000) } as const);
      yield end;
    });
    const { path } = await served(session);
    const response = await send(path, 'POST', '/v1/commands', JSON.stringify(request('user', 'list')));
    let before = -1;
    await until(() => made > 0);
    // Nobody reads: it comes to rest when the buffers between are full.
    while (made !== before) {
      before = made;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    expect(made).toBeLessThan(50);
    expect(session.returned).toBe(false);
    response.destroy();
    await until(() => session.returned);
    expect(made).toBeLessThan(50);
  });

  test('is left by a client that stops early', async () => {
    let made = 0;
    const session = new FakeSession(async function* () {
      for (; made < 10_000; made += 1) yield await Promise.resolve({ type: 'data', chunk: 'x'.repeat(100_000) } as const);
    });
    const { remote } = await served(session);
    for await (const message of remote.run(request('user', 'list'))) if (message.type === 'data') break;
    await until(() => session.returned);
    expect(made).toBeLessThan(100);
  });

  test('vetoes what nobody is left to confirm', async () => {
    const decided = Promise.withResolvers<undefined>();
    const session = new FakeSession(async function* () {
      yield prompt();
      await decided.promise;
    });
    later(() => {
      decided.resolve(undefined);
    });
    const { remote } = await served(session);
    for await (const message of remote.run(request('user', 'deactivate', 'x'))) if (message.type === 'prompt') break;
    await until(() => session.decisions.length > 0);
    expect(session.decisions).toEqual([['job1', false]]);
  });

  test('lets a job without a prompt go on when its shell goes away', async () => {
    const job = Promise.withResolvers<undefined>();
    let finished = false;
    const session = new FakeSession(async function* () {
      await job.promise;
      finished = true;
      yield reply('done');
    });
    const { path } = await served(session);
    const asked = httpRequest({ socketPath: path, method: 'POST', path: '/v1/commands', agent: false });
    asked.on('error', () => undefined).end(JSON.stringify(request('user', 'create', 'x')));
    await until(() => session.requests.length > 0);
    asked.destroy();
    await new Promise((resolve) => setTimeout(resolve, 50));
    job.resolve(undefined);
    await until(() => finished);
    expect(session.decisions).toEqual([]);
  });

  test('tells a failure of the session as any reply, and a daemon that dies as an unknown outcome', async () => {
    const broken = await served(
      new FakeSession(() => {
        throw new TypeError('a bug');
      }),
    );
    const said = await messagesOf(broken.remote.run(request('help')));
    expect(said).toMatchObject([{ type: 'reply', outcome: 'failed', errorId: 'internal.bug' }, { type: 'end' }]);

    const line = '{"type":"data","chunk":"x"}\n';
    const head = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n';
    for (const answer of [
      '',
      head,
      `${head}${line.length.toString(16)}\r\n${line}\r\n`,
      `${head}${line.length.toString(16)}\r\n${line}\r\n0\r\n\r\n`,
      `${head}1\r\n${line}`,
      `${head}2\r\n{\n\r\n0\r\n\r\n`,
    ]) {
      const path = join(folder(), 'steward.sock');
      const dying = createServer((socket) => {
        socket.once('data', () => {
          socket.end(answer);
        });
      });
      dying.listen(path);
      await once(dying, 'listening');
      later(() => dying.close());
      await expect(messagesOf(new RemoteSession(path, version).run(request('help')))).rejects.toMatchObject({ id: 'job.unknown' });
    }
  });

  test('answers pings', async () => {
    const { path } = await served(new FakeSession(() => [end]));
    expect(JSON.parse(await textOf(await send(path, 'GET', '/v1/ping')))).toEqual({ version });
  });
});
