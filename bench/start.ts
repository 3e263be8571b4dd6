import { absoluteLimit, type Limit } from './limit.ts';
import type { Program } from './program.ts';
import { commands, type World } from './world.ts';

const measured = 9;

/** From spawn until the first /sync is answered and processed. */
export async function start(world: World): Promise<Limit[]> {
  const once = async (starting: Promise<Program>): Promise<number> => {
    const bot = await starting;
    await bot.stop();
    return bot.startedIn;
  };
  const steward: number[] = [];
  const echo: number[] = [];
  // The first start makes the store and says hello; all others find it.
  await once(world.startSteward());
  await once(world.startEcho());
  for (let round = 0; round < measured; round += 1) {
    echo.push(await once(world.startEcho()));
    steward.push(await once(world.startSteward()));
  }
  return [
    absoluteLimit(
      'start',
      1,
      { ran: commands.steward, unit: 's', values: steward },
      'spawn to the first /sync processed; Synapse on PostgreSQL with fsync',
      { ran: commands.echo, unit: 's', values: echo },
    ),
  ];
}
