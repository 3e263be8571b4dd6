import { expect, test } from '@jest/globals';
import type { Alert, AlertChannel } from '../../src/alerts/channel.ts';

/** What a channel's test hands to the suite: the real receiver, and ways to make it ill. */
export interface Receiver {
  channel: AlertChannel;
  /** What its address or its credentials are made of, and nobody may say. */
  secrets: readonly string[];
  /** What it has taken, as text that holds title and body. */
  taken: () => readonly string[];
  /** How often it was tried. */
  attempts: () => number;
  /** Refuses the next `times` attempts: `ill` may pass, `refuses` does not. */
  fail: (how: 'ill' | 'refuses', times: number) => void;
  /** Takes connections and never answers. */
  hang: () => void;
  /** Nobody listens any more. */
  close: () => Promise<void>;
}

export const sampleAlert: Alert = {
  id: 'a1b2c3d4',
  alerts: ['room.stranger'],
  severity: 'critical',
  title: 'Somebody is in the admin room: schön',
  body: '@mallory:example.org\nnext: `steward server room check`',
  at: Date.UTC(2026, 10, 22),
};

/** Milliseconds: what a loaded machine does in time, and what nobody answers within. */
export const [patient, impatient] = [10_000, 300];

/** The contract of AlertChannel; every driver inherits it. @param open with a time for each of three attempts, in milliseconds */
export function channelContract(open: (timeoutMs: number) => Promise<Receiver>): void {
  const never = new AbortController().signal;
  const within = async <T>(work: (receiver: Receiver) => Promise<T>, timeoutMs = patient): Promise<T> => {
    const receiver = await open(timeoutMs);
    try {
      return await work(receiver);
    } finally {
      await receiver.close();
    }
  };
  const failure = async (receiver: Receiver, signal = never): Promise<Error> => {
    const error: unknown = await receiver.channel.send(sampleAlert, signal).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({ id: 'alert.not-delivered' });
    return error as Error;
  };

  test('takes an alert once, with its title and body', () =>
    within(async (receiver) => {
      await receiver.channel.send(sampleAlert, never);
      expect(receiver.taken()).toHaveLength(1);
      expect(receiver.taken()[0]).toContain(sampleAlert.title);
      expect(receiver.taken()[0]).toContain('steward server room check');
    }));

  test('may be called for several alerts at once, and again with the same', () =>
    within(async (receiver) => {
      await Promise.all(['x1', 'x2', 'x3'].map((id) => receiver.channel.send({ ...sampleAlert, id }, never)));
      await receiver.channel.send({ ...sampleAlert, id: 'x3' }, never);
      expect(receiver.taken()).toHaveLength(4);
    }));

  test('tries again what may pass', () =>
    within(async (receiver) => {
      receiver.fail('ill', 2);
      await receiver.channel.send(sampleAlert, never);
      expect(receiver.attempts()).toBe(3);
      expect(receiver.taken()).toHaveLength(1);
    }));

  test('gives up on what does not pass, and takes nothing', () =>
    within(async (receiver) => {
      receiver.fail('ill', 99);
      await failure(receiver);
      expect(receiver.attempts()).toBe(3);
      expect(receiver.taken()).toEqual([]);
    }));

  test('does not try again what is refused for good', () =>
    within(async (receiver) => {
      receiver.fail('refuses', 99);
      await failure(receiver);
      expect(receiver.attempts()).toBe(1);
      expect(receiver.taken()).toEqual([]);
    }));

  test('ends when there is no answer in time', () =>
    within(async (receiver) => {
      receiver.hang();
      expect(await failure(receiver)).toMatchObject({ reason: 'it did not answer in time' });
    }, impatient));

  test('ends soon when it is told to stop', () =>
    within(async (receiver) => {
      receiver.hang();
      const stop = new AbortController();
      setTimeout(() => stop.abort(), 30);
      const started = performance.now();
      await failure(receiver, stop.signal);
      expect(performance.now() - started).toBeLessThan(patient / 3);
    }));

  test('says that nobody listens, and never its address', async () => {
    const receiver = await open(patient);
    await receiver.close();
    const error = await failure(receiver);
    expect(error.message).toMatch(/it cannot be reached \([A-Z_]+\)/);
    for (const secret of receiver.secrets) expect(String(error.stack) + JSON.stringify(error)).not.toContain(secret);
  });
}
