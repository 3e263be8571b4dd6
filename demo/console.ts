import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline/promises';
import type { RoomEvent } from '../kit/client.ts';
import { Player } from './script/play.ts';
import { parseScript, ScriptError } from './script/parse.ts';
import { Unexpected } from './script/unexpected.ts';
import { showEvent, showOutput } from './show.ts';
import type { World } from './world.ts';

/** How long the end of the input waits for the answer to the last command. */
const lastAnswer = 15_000;
/** How many messages of before are shown at the beginning. */
const lastMessages = 5;

const statement = /^(?:(?:stop|kill|start)\s+steward|wait\s+\S+|(?:steward|never|shell|run)\s*(?:\(\d+\))?:.*|@?(?<who>[\w.=/-]+)\s*:.*)$/u;

/** What is typed is said as alice, or is a line of a script; the room's events are shown as they come. Resolves at the end of the input. */
export async function converse(world: World, input: NodeJS.ReadStream): Promise<void> {
  const isTerminal = input.isTTY;
  const lines = createInterface({ input, ...(isTerminal ? { output: process.stdout } : {}), prompt: 'alice> ' });
  const print = (text: string): void => {
    printAbove(lines, isTerminal, text);
  };
  const player = new Player(world);
  let turn = Promise.resolve();
  const show = (event: RoomEvent): void => {
    const shown = showEvent(event, world.room);
    if (shown !== null) print(shown);
  };
  for (const event of world.room.events.filter(({ type }) => type === 'm.room.message').slice(-lastMessages)) show(event);
  world.room.onEvent(show);
  if (isTerminal)
    lines.on('SIGINT', () => {
      process.kill(process.pid, 'SIGINT');
    });
  lines.on('line', (line) => {
    turn = turn.then(() => perform(player, asStatement(line.trim(), world), print));
  });
  if (isTerminal) lines.prompt();
  await once(lines, 'close');
  await turn;
  await player.answered(lastAnswer);
  await world.room.complete();
}

async function perform(player: Player, line: string, print: (text: string) => void): Promise<void> {
  try {
    for (const next of parseScript(line, 'line')) {
      const output = await player.perform(next);
      if (output !== null) print(showOutput(output));
    }
  } catch (error) {
    if (!(error instanceof Unexpected || error instanceof ScriptError)) throw error;
    print(error.message);
  }
}

/** The line as a script would have it; what names nobody is said as alice. */
function asStatement(line: string, world: World): string {
  if (line === '' || line.startsWith('#')) return line;
  const found = statement.exec(line);
  const who = found?.groups?.['who'];
  return found !== null && (who === undefined || Object.hasOwn(world.accounts, who)) ? line : `alice: ${line}`;
}

function printAbove(lines: Interface, isTerminal: boolean, text: string): void {
  // The line that is being typed moves below what has come.
  process.stdout.write(`${isTerminal ? '\r\u001b[J' : ''}${text}\n`);
  if (isTerminal) lines.prompt(true);
}
