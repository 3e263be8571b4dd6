import { describe, expect, test } from '@jest/globals';
import { createAlertChannels } from '../../src/alerts/channels.ts';
import { createWebhook } from '../../src/alerts/webhook.ts';
import { systemClock } from '../../src/clock.ts';
import { Secret } from '../../src/config/secret.ts';
import { channelContract, patient, sampleAlert, type Receiver } from '../suites/alert-channel.ts';
import { openHttpReceiver } from './http-receiver.ts';

const never = new AbortController().signal;

async function open(timeoutMs = patient): Promise<Receiver & { server: Awaited<ReturnType<typeof openHttpReceiver>> }> {
  const server = await openHttpReceiver();
  return {
    server,
    channel: createWebhook({ url: new Secret(`${server.url}/hidden`), clock: systemClock, timeoutMs, delaysMs: [1, 1] }),
    secrets: ['hidden'],
    taken: () => server.taken.map(({ body }) => String((body as { text: unknown }).text)),
    attempts: server.attempts,
    fail: (how, times) => {
      server.fail(how === 'ill' ? 503 : 404, times);
    },
    hang: server.hang,
    close: server.close,
  };
}

describe('the web hook', () => {
  channelContract(open);

  test('is posted the alert as JSON', async () => {
    const { channel, server, close } = await open();
    await channel.send(sampleAlert, never);
    await close();
    const { title, body } = sampleAlert;
    expect(server.taken).toMatchObject([
      {
        method: 'POST',
        path: '/hidden',
        headers: { 'content-type': 'application/json' },
        body: {
          id: 'a1b2c3d4',
          alerts: ['room.stranger'],
          severity: 'critical',
          title,
          body,
          at: '2026-11-22T00:00:00.000Z',
          text: `${title}\n${body}`,
        },
      },
    ]);
  });

  test('is tried again after 429', async () => {
    const { channel, server, close } = await open();
    server.fail(429, 1);
    await channel.send(sampleAlert, never);
    await close();
    expect(server.attempts()).toBe(2);
  });

  test('is not followed elsewhere', async () => {
    const { channel, server, close } = await open();
    server.fail(302, 9, { location: '/elsewhere' });
    await expect(channel.send(sampleAlert, never)).rejects.toMatchObject({ reason: 'it answered 302' });
    await close();
    expect(server.attempts()).toBe(1);
  });

  test('fails when the address is none, without telling it', async () => {
    const error: unknown = await createWebhook({ url: new Secret('hidden'), clock: systemClock, delaysMs: [] })
      .send(sampleAlert, never)
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ id: 'alert.not-delivered', reason: 'its address is not valid' });
    expect(String((error as Error).stack) + JSON.stringify(error)).not.toContain('hidden');
  });
});

test('the channels are those of the configuration', () => {
  const url = new Secret('http://x/y');
  expect(createAlertChannels({}, systemClock)).toEqual([]);
  expect(
    createAlertChannels(
      {
        webhook: { url },
        ntfy: { url },
        smtp: { host: 'x', port: 1, security: 'tls', from: 'a@x', to: ['b@x'] },
      },
      systemClock,
    ).map(({ name }) => name),
  ).toEqual(['webhook', 'ntfy', 'smtp']);
});
