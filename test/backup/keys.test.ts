import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EpochKeys, signingKey } from '../../src/backup/keys.ts';
import { Recipients } from '../../src/backup/recipients.ts';
import { systemClock, type Clock } from '../../src/clock.ts';
import { BackupRecipients } from '../../src/store/backup-recipients.ts';
import { BackupStore } from '../../src/store/backups.ts';
import { Store } from '../../src/store/store.ts';

/** Names of epochs: one a month, and another for each change of who can open them. */

const clock: Clock = { ...systemClock, now: () => Date.UTC(2026, 10, 22) };

let dir: string;
let store: Store;
let backups: BackupStore;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'epochs-'));
  store = Store.open(join(dir, 'steward.db'));
  backups = new BackupStore(store);
});

afterEach(() => {
  store.close();
  rmSync(dir, { recursive: true });
});

async function keysOf(): Promise<EpochKeys> {
  const settings = { recipients: [await identityToRecipient(await generateX25519Identity())] };
  const signer = () => signingKey(join(dir, 'signing.pem'));
  return new EpochKeys(settings, backups, new Recipients(settings, new BackupRecipients(store), clock, signer), clock);
}

const names = (): string[] => backups.epochs().map(({ name }) => name);

test('in a catalogue that lacks an epoch of this month a new one has a name that none has', async () => {
  // As `backup scan` finds them: of the second no backup is left.
  for (const name of ['2026-11', '2026-11-3'])
    backups.addEpoch({ name, createdAt: Date.UTC(2026, 10, 1), recipient: name, sealed: Buffer.alloc(1), recipients: [], openedAt: null });

  expect((await (await keysOf()).current()).name).toBe('2026-11-2');

  expect(names().sort()).toEqual(['2026-11', '2026-11-2', '2026-11-3']);
});

test('two commands that begin at once seal to the same one', async () => {
  const keys = await keysOf();

  const [one, other] = await Promise.all([keys.current(), keys.current()]);

  expect(one).toEqual(other);
  expect(names()).toEqual(['2026-11']);
});
