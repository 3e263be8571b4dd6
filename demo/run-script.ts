import { Player } from './script/play.ts';
import type { Statement } from './script/statement.ts';
import { Unexpected } from './script/unexpected.ts';
import { showEvent, showOutput } from './show.ts';
import type { World } from './world.ts';

/** How many events are shown again under a failure. */
const lastEvents = 8;

/** Plays a script, showing the room. @returns whether all was as expected; what was not is told on stderr */
export async function runScript(world: World, statements: readonly Statement[], path: string): Promise<boolean> {
  const { room } = world;
  const begin = performance.now();
  const player = new Player(world);
  const shown: string[] = [];
  const show = (text: string): void => {
    shown.push(text);
    process.stdout.write(`${text}\n`);
  };
  room.onEvent((event) => {
    const text = showEvent(event, room);
    if (text !== null) show(text);
  });
  try {
    for (const statement of statements) {
      const output = await player.perform(statement);
      if (output !== null) show(showOutput(output));
    }
    await player.finish();
  } catch (error) {
    if (!(error instanceof Unexpected)) throw error;
    const { line, text } = error.statement;
    process.stderr.write(`\n${path}:${line}: ${text}\n  ${error.message}\n  the last events:\n${shown.slice(-lastEvents).join('\n')}\n`);
    return false;
  }
  process.stderr.write(
    `steward: ${path}: all ${statements.length} lines came true (${((performance.now() - begin) / 1000).toFixed(0)} s)\n`,
  );
  return true;
}
