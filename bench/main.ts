import { constants } from 'node:os';
import { toStderr } from '../kit/cache.ts';
import { approvalLatency } from './approval-latency.ts';
import { auditVerify } from './audit-verify.ts';
import { backupDatabase, backupMedia, backupMediaSecond, backupVerify } from './backup.ts';
import { cryptoGrowth } from './crypto-growth.ts';
import { firstEncrypted } from './first-encrypted.ts';
import { idleMemory } from './idle-memory.ts';
import { lineOf, passes, type Limit } from './limit.ts';
import { restoreSwaps } from './restore.ts';
import { encryptedRoundTrip, roundTrip } from './round-trip.ts';
import { start } from './start.ts';
import { userList, userListCsv } from './user-list.ts';
import { openWorld, type World } from './world.ts';

const benches: Readonly<Record<string, (world: World) => Promise<Limit[]>>> = {
  start,
  'approval-latency': approvalLatency,
  'audit-verify': auditVerify,
  'help-round-trip': roundTrip,
  'idle-memory': idleMemory,
  'user-list': userList,
  'user-list-csv': userListCsv,
  // On the small database that the world begins with; the next one fills it.
  'backup-media': backupMedia,
  'backup-media-second': backupMediaSecond,
  'backup-database': backupDatabase,
  'backup-verify': backupVerify,
  'restore-downtime': restoreSwaps,
};

/** On a homeserver of their own, with Steward in an encrypted room. */
const encryptedBenches: Readonly<Record<string, (world: World) => Promise<Limit[]>>> = {
  'encrypted-round-trip': encryptedRoundTrip,
  'first-encrypted-message': firstEncrypted,
  'crypto-growth': cryptoGrowth,
};

const usage = `usage: npm run bench -- NAME…|all

Prints one JSON line for each limit; exit code 0 when all are met. Each measures Steward and what a user would do
otherwise, in turn, on one homeserver made for it.

  ${Object.keys({ ...benches, ...encryptedBenches }).join('\n  ')}
`;

const cleanup = new AsyncDisposableStack();

async function end(exit: number): Promise<never> {
  await cleanup.disposeAsync();
  process.exit(exit);
}

async function main(names: readonly string[]): Promise<number> {
  const all = { ...benches, ...encryptedBenches };
  const wanted = names.includes('all') ? Object.keys(all) : names;
  if (wanted.length === 0 || wanted.some((name) => !(name in all))) {
    process.stderr.write(usage);
    return 2;
  }
  // What is measured is configured by its own file alone.
  for (const name of Object.keys(process.env)) if (name.startsWith('STEWARD_')) Reflect.deleteProperty(process.env, name);
  let met = true;
  for (const [table, encrypted] of [
    [benches, false],
    [encryptedBenches, true],
  ] as const) {
    const these = wanted.filter((name) => name in table);
    if (these.length === 0) continue;
    await using ofWorld = new AsyncDisposableStack();
    cleanup.defer(() => ofWorld.disposeAsync());
    const world = await openWorld(toStderr, ofWorld, encrypted);
    for (const name of these) {
      toStderr(`measuring ${name}`);
      for (const limit of (await table[name]?.(world)) ?? []) {
        met &&= passes(limit);
        process.stdout.write(`${lineOf(limit)}\n`);
      }
    }
  }
  return met ? 0 : 1;
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => void end(128 + constants.signals[signal]));
try {
  await end(await main(process.argv.slice(2)));
} catch (error) {
  toStderr(`error: ${error instanceof Error ? error.message : String(error)}`);
  await end(1);
}
