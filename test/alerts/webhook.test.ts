import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import type { Alert } from '../../src/alerts/channel.ts';
import { createAlertChannels } from '../../src/alerts/channels.ts';
import { createWebhook } from '../../src/alerts/webhook.ts';
import { systemClock } from '../../src/clock.ts';
import { Secret } from '../../src/config/secret.ts';

const alert: Alert = {
  id: 'a1',
  severity: 'critical',
  title: 'backup failed',
  body: 'disk full\nsteward backup create',
  at: Date.UTC(2026, 10, 22),
};
const never = new AbortController().signal;
const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close().closeAllConnections();
});

async function receiver(answer: (response: ServerResponse, count: number) => void) {
  const received: { method: string | undefined; type: string | undefined; body: unknown }[] = [];
  const server = createServer((request: IncomingMessage, response) => {
    void request
      .setEncoding('utf8')
      .toArray()
      .then((parts: string[]) => {
        received.push({ method: request.method, type: request.headers['content-type'], body: JSON.parse(parts.join('') || 'null') });
        answer(response, received.length);
      });
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hidden`;
  return { received, url, channel: createWebhook({ url: new Secret(url), clock: systemClock, timeoutMs: 200, delaysMs: [1, 1] }) };
}

const status =
  (code: number, headers = {}) =>
  (response: ServerResponse) =>
    void response.writeHead(code, headers).end('hidden');

describe('the web hook', () => {
  test('is posted the alert as JSON, once', async () => {
    const { received, channel } = await receiver(status(204));
    await channel.send(alert, never);
    expect(received).toEqual([
      {
        method: 'POST',
        type: 'application/json',
        body: {
          id: 'a1',
          severity: 'critical',
          title: 'backup failed',
          body: alert.body,
          at: '2026-11-22T00:00:00.000Z',
          text: `backup failed\n${alert.body}`,
        },
      },
    ]);
  });

  test.each([500, 429])('is tried again after %i', async (code) => {
    const { received, channel } = await receiver((response, count) => status(count < 3 ? code : 200)(response));
    await channel.send(alert, never);
    expect(received).toHaveLength(3);
  });

  test.each<[string, (response: ServerResponse) => void, number, string]>([
    ['it refuses', status(404), 1, 'it answered 404'],
    ['it is ill', status(503), 3, 'it answered 503'],
    ['it redirects', status(302, { location: '/elsewhere' }), 1, 'it answered 302'],
    ['it does not answer', () => {}, 3, 'it did not answer in time'],
    ['it hangs up', (response) => void response.destroy(), 3, 'it cannot be reached (UND_ERR_SOCKET)'],
  ])('fails when %s', async (_, answer, attempts, reason) => {
    const { received, channel } = await receiver(answer);
    await expect(channel.send(alert, never)).rejects.toMatchObject({ id: 'alert.not-delivered', reason });
    expect(received).toHaveLength(attempts);
  });

  test('fails when nobody listens or the address is none, without telling the address', async () => {
    const { url: closed } = await receiver(() => {});
    await new Promise((resolve) => servers.pop()?.close(resolve));
    for (const [url, reason] of [
      [closed, /^it cannot be reached/],
      ['hidden', /^its address is not valid$/],
    ] as const) {
      const error: unknown = await createWebhook({ url: new Secret(url), clock: systemClock, delaysMs: [] })
        .send(alert, never)
        .catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ id: 'alert.not-delivered', reason: expect.stringMatching(reason) });
      expect(String((error as Error).stack) + JSON.stringify(error)).not.toContain('hidden');
    }
  });

  test('ends soon when it is told to stop', async () => {
    const { channel, received } = await receiver(() => {});
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 20);
    await expect(channel.send(alert, stop.signal)).rejects.toMatchObject({ id: 'alert.not-delivered' });
    expect(received).toHaveLength(1);
  });
});

test('the channels are those of the configuration', () => {
  expect(createAlertChannels({}, systemClock)).toEqual([]);
  expect(createAlertChannels({ webhook: { url: new Secret('http://x') } }, systemClock).map(({ name }) => name)).toEqual(['webhook']);
});
