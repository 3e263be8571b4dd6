import { readFile } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import type { RoomEvent } from '../../kit/client.ts';
import type { Answers } from './answers.ts';
import type { Stage } from './stage.ts';
import type { Reaction, Speech, Statement } from './statement.ts';
import { Unexpected } from './unexpected.ts';
import { until } from './until.ts';
import type { Variables } from './variables.ts';

/** How long a statement about an answer waits for one. */
const patience = 15_000;

/** The people of a script: what they do in the room, and what they did last. */
export class Voices {
  readonly #stage: Stage;
  readonly #answers: Answers;
  readonly #variables: Variables;
  /** Event ids of each person's last message, and of each reaction that stands. */
  readonly #said = new Map<string, string>();
  readonly #reactions = new Map<string, string>();
  #lastCommand: string | null = null;

  constructor(stage: Stage, answers: Answers, variables: Variables) {
    this.#stage = stage;
    this.#answers = answers;
    this.#variables = variables;
  }

  async speak(statement: Statement & Speech): Promise<void> {
    const message = this.#variables.fill(statement.message);
    const eventId = await this.#send(statement, message);
    if (statement.kind === 'edit') return;
    this.#said.set(statement.who, eventId);
    if (message.startsWith('!')) this.#lastCommand = eventId;
  }

  /** Waits until the last command has its answer, at most `ms`. */
  async answered(ms: number): Promise<void> {
    const command = this.#lastCommand;
    if (command === null || !this.#stage.steward.isRunning) return;
    await until(() => (this.#answers.has(command) ? true : null), ms);
  }

  async #send(statement: Statement & Speech, message: string): Promise<string> {
    const { roomId } = this.#stage.room;
    const client = await this.#stage.person(statement.who);
    switch (statement.kind) {
      case 'say':
        return client.send(roomId, message);
      case 'edit': {
        const about = this.#said.get(statement.who);
        if (about === undefined)
          throw new Unexpected(statement, `expected an earlier message of ${statement.who} in this script; there is none`);
        return client.edit(roomId, about, message);
      }
      case 'reply': {
        const about = await this.#wanted(statement, 'a message of Steward', () => this.#answers.last);
        return client.reply(roomId, about.event_id, message);
      }
      case 'file': {
        const path = resolve(this.#stage.folder, this.#variables.fill(statement.path));
        const file = { name: basename(path), bytes: await readFile(path), contentType: path.endsWith('.csv') ? 'text/csv' : 'text/plain' };
        return client.sendFile(roomId, message === '' ? file : { ...file, caption: message });
      }
    }
  }

  async react(statement: Statement & Reaction): Promise<void> {
    const { kind, who, key } = statement;
    const { roomId } = this.#stage.room;
    const client = await this.#stage.person(who);
    if (kind === 'unreact') {
      const reaction = this.#reactions.get(`${who} ${key}`);
      if (reaction === undefined) throw new Unexpected(statement, `expected an earlier ${key} of ${who} in this script; there is none`);
      this.#reactions.delete(`${who} ${key}`);
      await client.redact(roomId, reaction);
      return;
    }
    const about = await this.#wanted(statement, 'a prompt, alert or report of Steward', () => this.#answers.promptFor(key));
    this.#reactions.set(`${who} ${key}`, await client.react(roomId, about.event_id, key));
  }

  /** What a statement is about, as soon as the last command is answered and it is there. */
  async #wanted(statement: Statement, what: string, find: () => RoomEvent | null): Promise<RoomEvent> {
    await this.answered(patience / 3);
    const found = await until(find, patience);
    if (found === null) throw new Unexpected(statement, `expected ${what}; there is none`);
    return found;
  }
}
