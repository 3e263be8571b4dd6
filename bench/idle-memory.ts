import { setTimeout as sleep } from 'node:timers/promises';
import { ratioLimit, type Limit } from './limit.ts';
import { residentMemory } from './memory.ts';
import { commands, type World } from './world.ts';

const measured = 5;
const idle = 60_000;

/** Resident memory a minute after ready, both bots idle in one room side by side. */
export async function idleMemory(world: World): Promise<Limit[]> {
  const steward: number[] = [];
  const echo: number[] = [];
  for (let round = 0; round < measured; round += 1) {
    await using bots = new AsyncDisposableStack();
    const started = { echo: await world.startEcho(), steward: await world.startSteward() };
    for (const bot of Object.values(started)) bots.defer(() => bot.stop());
    await sleep(idle);
    echo.push(residentMemory(started.echo.pid));
    steward.push(residentMemory(started.steward.pid));
  }
  return [
    ratioLimit(
      'idle-memory',
      1.6,
      { ran: `${commands.steward}, with its http listener`, unit: 'MiB', values: steward },
      { ran: commands.echo, unit: 'MiB', values: echo },
      'VmRSS 60 s after ready',
    ),
  ];
}
