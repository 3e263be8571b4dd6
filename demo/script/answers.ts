import type { RoomEvent } from '../../kit/client.ts';
import { aboutOf, bodyOf, isEdit, reactionOf, record, resultOf } from '../content.ts';
import type { Stage } from './stage.ts';

/** A message of the bot, or the output of a command of the shell. */
export interface Answer {
  text: string;
  event: RoomEvent | null;
}

/** What Steward has said, in the room and in the shell, in the order in which it was seen. */
export class Answers {
  readonly list: Answer[] = [];
  /** Messages with the reactions that Steward has put under them. */
  readonly #buttons = new Set<string>();

  constructor({ room, botId }: Pick<Stage, 'room' | 'botId'>) {
    const add = (event: RoomEvent): void => {
      const [key, about] = event.sender === botId ? [reactionOf(event), aboutOf(event)] : [null, null];
      if (key !== null && about !== null) this.#buttons.add(`${about} ${key}`);
      const text = event.sender === botId ? bodyOf(event) : null;
      if (text !== null) this.list.push({ text, event });
    };
    for (const event of room.events) add(event);
    room.onEvent(add);
  }

  addOutput(text: string): void {
    this.list.push({ text, event: null });
  }

  has(command: string): boolean {
    return this.list.some(({ event }) => event !== null && aboutOf(event) === command);
  }

  /** The last message in the room. */
  get last(): RoomEvent | null {
    return this.list.findLast(({ event }) => event !== null)?.event ?? null;
  }

  /** What a reaction is meant for: a verdict goes to the last prompt, a button of a report to the last one that has it, anything else to what pinged last. */
  promptFor(key: string): RoomEvent | null {
    const messages = this.list.flatMap(({ event }) => (event === null || isEdit(event) ? [] : [event]));
    if (/^[📜🔁]/u.test(key)) return messages.findLast(({ event_id: id }) => this.#buttons.has(`${id} ${key}`)) ?? null;
    const isVerdict = /^[✅❌👍👎]/u.test(key);
    return (
      messages.findLast((event) => isAsking(event) || (!isVerdict && isPinging(event))) ??
      (isVerdict ? messages.findLast(isPinging) : undefined) ??
      null
    );
  }
}

function isAsking(event: RoomEvent): boolean {
  // A job that is under way says so with the same outcome.
  return resultOf(event)?.['outcome'] === 'waiting' && bodyOf(event)?.startsWith('⏳') === false;
}

function isPinging(event: RoomEvent): boolean {
  return record(event.content['m.mentions'])['user_ids'] !== undefined;
}
