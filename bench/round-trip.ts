import { setTimeout as sleep } from 'node:timers/promises';
import type { RoomEvent } from '../kit/client.ts';
import type { Timeline } from '../kit/timeline.ts';
import { ratioLimit, type Limit } from './limit.ts';
import { commands, type World } from './world.ts';

const warmUps = 5;
const measured = 50;
/** Milliseconds between an answer and the next question: what follows an answer is over by then. */
const gap = 250;

/** From a message sent to its answer seen by a client that hangs on /sync, both bots in one room, in turn. */
export const roundTrip = (world: World): Promise<Limit[]> => inTurn('help-round-trip', world, 'one plain room');

/** The same with Steward in an encrypted room: the client encrypts what it asks, and decrypts what it sees. The echo bot is in a plain one. */
export const encryptedRoundTrip = (world: World): Promise<Limit[]> =>
  inTurn('encrypted-round-trip', world, 'an encrypted room (matrix-js-sdk), the echo bot in a plain one');

async function inTurn(name: string, world: World, where: string): Promise<Limit[]> {
  await using bots = new AsyncDisposableStack();
  for (const bot of [await world.startEcho(), await world.startSteward()]) bots.defer(() => bot.stop());
  const timeline = await world.alice.timeline();
  bots.defer(() => {
    timeline.stop();
  });
  const steward: number[] = [];
  const echo: number[] = [];
  for (let round = -warmUps; round < measured; round += 1) {
    // Who begins changes, so that neither always follows the other.
    const turns = [
      async () => echo.push(await asked(world, timeline, '%echo', world.echoId, world.echoRoomId)),
      async () => steward.push(await asked(world, timeline, '!help', world.stewardId, world.roomId)),
    ];
    for (const turn of round % 2 === 0 ? turns : turns.reverse()) await turn();
    if (round < 0) steward.length = echo.length = 0;
  }
  return [
    ratioLimit(
      name,
      1.2,
      { ran: `!help, answered by ${commands.steward}`, unit: 'ms', values: steward },
      { ran: `%echo, answered by ${commands.echo}`, unit: 'ms', values: echo },
      `message sent (PUT /send) to answer seen (/sync long poll) in ${where}; Synapse on PostgreSQL with fsync`,
    ),
  ];
}

/** Milliseconds until the bot's answer is seen. */
async function asked({ alice }: World, timeline: Timeline, text: string, bot: string, roomId: string): Promise<number> {
  await sleep(gap);
  const answer = seen(timeline, (event) => event.sender === bot && event.type === 'm.room.message');
  const begin = performance.now();
  await alice.send(roomId, text);
  return (await answer) - begin;
}

/** When an event that fits is seen. Errors: not within 10 s */
async function seen(timeline: Timeline, fits: (event: RoomEvent) => boolean): Promise<number> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new Error('no answer within 10 s'));
    }, 10_000);
    const end = timeline.onEvent((event) => {
      if (!fits(event)) return;
      const at = performance.now();
      clearTimeout(timer);
      end();
      resolve(at);
    });
  });
}
