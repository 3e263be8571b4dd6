import { beforeEach, expect, test } from '@jest/globals';
import { armor, Decrypter, Encrypter, generateX25519Identity, identityToRecipient } from 'age-encryption';
import { Unlocks, type SealedEpoch, type UnlockRequest } from '../../src/backup/unlocks.ts';
import { systemClock, type Clock } from '../../src/clock.ts';
import { Secret } from '../../src/config/secret.ts';

const hour = 3_600_000;
let elapsed: number;
let epoch: SealedEpoch;
let own: string;
let secret: string;
let unlocks: Unlocks;
let requests: UnlockRequest[];
/** What happens while a sleep takes its time. */
let meanwhile: () => Promise<void>;

/** Time passes when it is waited for. */
const clock: Clock = {
  now: () => 1_700_000_000_000 + elapsed,
  monotonic: () => elapsed,
  sleep: async (ms) => {
    elapsed += ms;
    if (elapsed % 60_000 === 0) await systemClock.sleep(0);
    await meanwhile();
  },
};

beforeEach(async () => {
  elapsed = 0;
  meanwhile = () => Promise.resolve();
  own = await generateX25519Identity();
  secret = await generateX25519Identity();
  const encrypter = new Encrypter();
  encrypter.addRecipient(await identityToRecipient(own));
  epoch = { name: '2026-11', recipient: await identityToRecipient(secret), sealed: await encrypter.encrypt(`${secret}\n`) };
  requests = [];
  unlocks = new Unlocks(clock);
  unlocks.asked = (request) => requests.push(request);
});

const ask = (isCancelled = () => false, signal = new AbortController().signal): Promise<Secret[]> =>
  unlocks.ask({ jobId: 'k7m2xq9d4a', what: 'backup verify latest', epochs: [epoch] }, isCancelled, signal);

async function answer({ jobId, recipient }: UnlockRequest): Promise<void> {
  const decrypter = new Decrypter();
  decrypter.addIdentity(own);
  const encrypter = new Encrypter();
  encrypter.addRecipient(recipient);
  await unlocks.answer(jobId, new Secret(armor.encode(await encrypter.encrypt(await decrypter.decrypt(epoch.sealed)))));
}

test('an answer just before an hour is over opens the epoch', async () => {
  meanwhile = async () => {
    const [request] = requests;
    if (elapsed === hour && request !== undefined) await answer(request);
  };
  const opened = await ask();
  expect(opened.map((key) => key.reveal())).toEqual([secret]);
  expect(requests).toMatchObject([{ until: 1_700_000_000_000 + hour }]);
});

test('after an hour nobody is waited for, and what comes then opens nothing', async () => {
  await expect(ask()).rejects.toMatchObject({ id: 'backup.no-key', reason: 'nobody opened them within an hour' });
  expect(elapsed).toBeGreaterThan(hour);
  expect(elapsed).toBeLessThan(hour + 60_000);
  expect(unlocks.open()).toEqual([]);
  for (const request of requests) await expect(answer(request)).rejects.toMatchObject({ id: 'backup.nothing-to-unlock' });
});

test('who does not want it any more is not asked', async () => {
  await expect(ask(() => true)).rejects.toMatchObject({ id: 'job.cancelled' });
  const stopped = AbortSignal.abort(new Error('Steward stops'));
  await expect(ask(undefined, stopped)).rejects.toThrow('Steward stops');
  unlocks.asked = null;
  await expect(ask()).rejects.toMatchObject({ id: 'backup.no-key' });
  expect(requests).toEqual([]);
});
