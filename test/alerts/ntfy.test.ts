import { describe, expect, test } from '@jest/globals';
import { createNtfy } from '../../src/alerts/ntfy.ts';
import { systemClock } from '../../src/clock.ts';
import { Secret } from '../../src/config/secret.ts';
import { channelContract, patient, sampleAlert, type Receiver } from '../suites/alert-channel.ts';
import { openHttpReceiver } from './http-receiver.ts';

const never = new AbortController().signal;

interface Published {
  topic: string;
  title: string;
  message: string;
  priority: number;
  tags: string[];
}

async function open(timeoutMs = patient): Promise<Receiver & { server: Awaited<ReturnType<typeof openHttpReceiver>> }> {
  const server = await openHttpReceiver();
  const token = new Secret('tk_hidden');
  return {
    server,
    channel: createNtfy({ url: new Secret(`${server.url}/topic-4f9c`), token, clock: systemClock, timeoutMs, delaysMs: [1, 1] }),
    secrets: ['topic-4f9c', 'tk_hidden'],
    taken: () =>
      server.taken.map(({ body }) => {
        const { title, message } = body as Published;
        return `${title}\n${message}`;
      }),
    attempts: server.attempts,
    fail: (how, times) => {
      server.fail(how === 'ill' ? 503 : 403, times);
    },
    hang: server.hang,
    close: server.close,
  };
}

const published = async (alert: typeof sampleAlert): Promise<{ body: Published; path: string | undefined; authorization: unknown }> => {
  const { channel, server, close } = await open();
  await channel.send(alert, never);
  await close();
  const [taken] = server.taken;
  return { body: taken?.body as Published, path: taken?.path, authorization: taken?.headers.authorization };
};

describe('ntfy', () => {
  channelContract(open);

  test('is published to as its API says: JSON to the root, the topic in it, a token beside it', async () => {
    const { body, path, authorization } = await published(sampleAlert);
    expect({ path, authorization }).toEqual({ path: '/', authorization: 'Bearer tk_hidden' });
    expect(body).toEqual({
      topic: 'topic-4f9c',
      title: sampleAlert.title,
      message: `${sampleAlert.body}\n(a1b2c3d4)`,
      priority: 5,
      tags: ['rotating_light'],
    });
  });

  test.each([
    ['info', 2],
    ['warning', 4],
    ['critical', 5],
  ] as const)('%s has priority %i', async (severity, priority) => {
    expect((await published({ ...sampleAlert, severity })).body.priority).toBe(priority);
  });

  test('cuts what would become an attachment, at a whole character', async () => {
    const { body } = await published({ ...sampleAlert, body: '🔴'.repeat(3000) });
    expect(Buffer.byteLength(body.message)).toBeLessThanOrEqual(4096);
    expect(body.message).toMatch(/^(?:🔴)+…$/u);
  });

  test.each(['https://ntfy.sh', 'https://ntfy.sh/', 'not an address', 'https://ntfy.sh/topic?auth=x'])(
    'refuses %s, which is no topic, without telling it',
    async (url) => {
      const channel = createNtfy({ url: new Secret(url), token: undefined, clock: systemClock });
      const error = (await channel.send(sampleAlert, never).catch((thrown: unknown) => thrown)) as Error;
      expect(error).toMatchObject({ reason: 'its address is not that of a topic' });
      expect(error.message).not.toContain(url);
    },
  );
});
