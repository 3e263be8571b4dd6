import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join, dirname, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Timeline } from '../kit/timeline.ts';
import { absoluteLimit, ratioLimit, type Limit } from './limit.ts';
import { residentMemory } from './memory.ts';
import { commands, type World } from './world.ts';

const messages = 5000;
/** One of so many is a command, which Steward answers; the others it only decrypts. */
const everyAsks = 10;
const atOnce = 10;
/** Messages after which everything that is loaded once has been. */
const settled = 500;
const idle = 60_000;
const transactions = 60_000;

/** What grows with encrypted messages: Steward's memory, its snapshot, and the time that one takes. */
export async function cryptoGrowth(world: World): Promise<Limit[]> {
  await using cleanup = new AsyncDisposableStack();
  const [echo, steward] = [await world.startEcho(), await world.startSteward()];
  for (const bot of [echo, steward]) cleanup.defer(() => bot.stop());
  const timeline = await world.alice.timeline();
  cleanup.defer(() => {
    timeline.stop();
  });
  await talk(world, timeline, settled);
  const before = residentMemory(steward.pid);
  await talk(world, timeline, messages - settled);
  await sleep(idle);
  const [after, rival] = [residentMemory(steward.pid), residentMemory(echo.pid)];
  await steward.stop();

  const store = join(dirname(world.socket), 'steward.db');
  const { milliseconds, bytes, grown } = await soaked(store);
  const talked = `${messages} encrypted messages, ${messages / everyAsks} of them answered, by ${commands.steward}`;
  const child = 'node bench/crypto-soak.ts STORE';
  return [
    ratioLimit(
      'idle-memory-encrypted',
      1.6,
      { ran: talked, unit: 'MiB', values: [after] },
      { ran: commands.echo, unit: 'MiB', values: [rival] },
      'VmRSS 60 s after the last message; the echo bot in a plain room',
    ),
    absoluteLimit('crypto-soak', 30, { ran: talked, unit: 'MiB', values: [after - before] }, `growth of VmRSS from ${settled} messages on`),
    absoluteLimit(
      'crypto-soak-store',
      30,
      { ran: child, unit: 'MiB', values: [grown] },
      `growth of VmRSS over ${transactions} transactions of the key store`,
    ),
    absoluteLimit(
      'crypto-snapshot',
      5,
      { ran: child, unit: 'ms', values: milliseconds },
      `pruned, read, serialised and written with fsync, after ${messages} messages`,
    ),
    absoluteLimit('crypto-snapshot-size', 200, { ran: talked, unit: 'kB', values: [bytes / 1000] }, 'of the store of keys and sessions'),
  ];
}

/** Says so many things in the encrypted room, some of them commands, and waits for the last answer. */
async function talk({ alice, roomId, stewardId }: World, timeline: Timeline, count: number): Promise<void> {
  for (let said = 0; said < count; said += atOnce) {
    const sent = await Promise.all(
      Array.from({ length: atOnce }, (_, n) =>
        alice.send(roomId, n % everyAsks === 0 ? '!server version' : `chatter ${said + n} of an evening`),
      ),
    );
    const [asked] = sent;
    await timeline.waitFor((event) => {
      const relation = event.content['m.relates_to'] as { 'm.in_reply_to'?: { event_id?: string } } | undefined;
      return event.sender === stewardId && relation?.['m.in_reply_to']?.event_id === asked;
    }, 30_000);
  }
}

interface Soaked {
  milliseconds: number[];
  bytes: number;
  /** MiB. */
  grown: number;
}

/** Steward's device, opened from a copy of its store in a process of its own, keeps itself again and again. */
async function soaked(store: string): Promise<Soaked> {
  const copy = `${store}.bench`;
  new DatabaseSync(store).exec(`VACUUM INTO '${copy.replaceAll("'", "''")}'`);
  const program = resolve(import.meta.dirname, 'crypto-soak.ts');
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', program, copy, String(transactions)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [out, [exit]] = await Promise.all([text(child.stdout), once(child, 'exit') as Promise<[number | null]>]);
  if (exit !== 0) throw new Error(`${program} ended with ${String(exit)}`);
  return JSON.parse(out) as Soaked;
}
