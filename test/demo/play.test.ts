import { beforeEach, describe, expect, test } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Content, MatrixClient, RoomEvent } from '../../kit/client.ts';
import { parseScript } from '../../demo/script/parse.ts';
import { Player } from '../../demo/script/play.ts';
import type { Stage } from '../../demo/script/stage.ts';
import { Unexpected } from '../../demo/script/unexpected.ts';

/** A room without a homeserver: what is sent is there at once, and `steward` answers as the test says. */
class Rehearsal implements Stage {
  readonly events: RoomEvent[] = [];
  readonly botId = '@steward:x';
  readonly environment = { DEMO_DIR: '/demo' };
  readonly folder = '/';
  readonly ran: { command: string; input: string }[] = [];
  outcome = { exit: 0, output: '' };
  answer: (body: string, eventId: string) => void = () => undefined;
  readonly #listeners: ((event: RoomEvent) => void)[] = [];

  readonly room = {
    roomId: '!r',
    events: this.events,
    onEvent: (listener: (event: RoomEvent) => void) => {
      this.#listeners.push(listener);
    },
    complete: () => Promise.resolve(this.events),
  };
  readonly steward = { isRunning: true, start: () => Promise.resolve(), stop: () => Promise.resolve(), kill: () => Promise.resolve() };

  person(name: string): Promise<MatrixClient> {
    const send = (_: string, body: string, extra: Content = {}): Promise<string> => Promise.resolve(this.#told(`@${name}:x`, body, extra));
    const client: Partial<MatrixClient> = {
      send,
      edit: (room, about, body) =>
        send(room, `* ${body}`, { 'm.new_content': { body }, 'm.relates_to': { rel_type: 'm.replace', event_id: about } }),
      reply: (room, about, body) => send(room, body, { 'm.relates_to': { 'm.in_reply_to': { event_id: about } } }),
      react: (_, about, key) =>
        Promise.resolve(this.add(`@${name}:x`, 'm.reaction', { 'm.relates_to': { rel_type: 'm.annotation', event_id: about, key } })),
      redact: (_, about) => Promise.resolve(this.add(`@${name}:x`, 'm.room.redaction', { redacts: about })),
    };
    return Promise.resolve(client as MatrixClient);
  }

  run(command: string, input = ''): Promise<{ exit: number; output: string }> {
    this.ran.push({ command, input });
    return Promise.resolve(this.outcome);
  }

  says(body: string, extra: Content = {}): string {
    return this.add(this.botId, 'm.room.message', { msgtype: 'm.notice', body, ...extra });
  }

  add(sender: string, type: string, content: Content): string {
    const event = { event_id: `$${this.events.length}`, room_id: '!r', type, sender, origin_server_ts: 0, content };
    this.events.push(event);
    for (const listener of this.#listeners) listener(event);
    return event.event_id;
  }

  #told(sender: string, body: string, extra: Content): string {
    const eventId = this.add(sender, 'm.room.message', { msgtype: 'm.text', body, ...extra });
    this.answer(body, eventId);
    return eventId;
  }
}

const prompt = { 'org.steward.result': { command: 'user x', outcome: 'waiting' } };
let stage: Rehearsal;

beforeEach(() => {
  stage = new Rehearsal();
  stage.answer = (body, eventId) => {
    if (body.startsWith('!')) stage.says(`about ${body}`, { 'm.relates_to': { 'm.in_reply_to': { event_id: eventId } } });
  };
});

async function play(script: string): Promise<void> {
  const player = new Player(stage);
  for (const statement of parseScript(script, 'x')) await player.perform(statement);
  await player.finish();
}

async function failure(script: string): Promise<string> {
  const error = await play(script).catch((thrown: unknown) => thrown);
  if (!(error instanceof Unexpected)) throw new Error('it came true');
  return `${error.statement.line}: ${error.message}`;
}

describe('answers', () => {
  test('are waited for', async () => {
    void sleep(100).then(() => stage.says('late'));
    await play('steward: /late/ 2s');
  });

  test('are each expected once, in order', async () => {
    await play('alice: !a\nalice: !b\nsteward: /about !a/\nsteward: /about !b/');
    expect(await failure('alice: !a\nsteward: /about/\nsteward: /about/ 50ms')).toMatch(
      /^3: expected an answer .* within 0.05 s; none came$/,
    );
    expect(await failure('alice: !a\nalice: !b\nsteward: /!b/\nsteward: /!a/ 50ms')).toMatch(/^4: /);
  });

  test('of before the script are for a first line that expects them', async () => {
    stage.says('hello');
    await play('steward: /hello/ 50ms\nalice: !a\nsteward: /about/');
    expect(await failure('alice: !a\nsteward: /hello/ 50ms')).toMatch(/what came was\n {4}about !a/);
  });

  test('are those of the bot, with what it has made of an edit', async () => {
    stage.says('* old', { 'm.new_content': { body: 'new' }, 'm.relates_to': { rel_type: 'm.replace', event_id: '$0' } });
    await play('steward: /^new$/');
    expect(await failure('alice: hello\nsteward: /hello/ 50ms')).toMatch(/none came/);
  });

  test('give values to later lines, in a regular expression as they are', async () => {
    stage.says('code a.b+c here');
    await play(
      'steward: /code (?<code>\\S+) (?<none>x)?/\nalice: !approve $code ${code} $other $DEMO_DIR\nsteward: /!approve $code a.b\\+c \\$other/',
    );
    expect(stage.events.at(-2)?.content['body']).toBe('!approve a.b+c a.b+c $other /demo');
  });

  test('that must never come fail the line that forbade them', async () => {
    expect(await failure('never: /about !b/\nalice: !a\nsteward: /!a/\nalice: !b\nsteward: /!b/')).toMatch(
      /^1: expected nothing that matches \/about !b\/; found\n {4}about !b$/,
    );
    stage.says('about !b');
    await play('never: /about !b/\nalice: !a');
  });

  test('that come after the last line can still be too much', async () => {
    void sleep(200).then(() => stage.says('oops'));
    expect(await failure('never: /oops/\nalice: hello')).toMatch(/^1: /);
  });
});

describe('what people do', () => {
  test('a verdict goes to the last prompt, and waits for it', async () => {
    stage.answer = (body, eventId) => {
      void sleep(100).then(() =>
        stage.says(`sure about ${body}?`, { ...prompt, 'm.relates_to': { 'm.in_reply_to': { event_id: eventId } } }),
      );
    };
    const old = stage.says('sure?', prompt);
    await play('alice: !a\nbob: react ✅\nbob: unreact ✅');
    const [reaction, redaction] = stage.events.slice(-2);
    const about = (reaction?.content['m.relates_to'] as { event_id: string }).event_id;
    expect(about).not.toBe(old);
    expect(stage.events.find((event) => event.event_id === about)?.content['body']).toBe('sure about !a?');
    expect(redaction?.content['redacts']).toBe(reaction?.event_id);
  });

  test('any other reaction goes to what pinged last, progress aside', async () => {
    stage.says('sure?', prompt);
    const alert = stage.says('backup failed', { msgtype: 'm.text', 'm.mentions': { user_ids: ['@alice:x'] } });
    stage.says('⏳ 1 of 2', prompt);
    await play('alice: react 🙋');
    expect(stage.events.at(-1)?.content['m.relates_to']).toMatchObject({ event_id: alert, key: '🙋' });
  });

  test('an edit is about the own last message, a reply about the last of Steward', async () => {
    await play('alice: one\nbob: !two\nalice: edit three\nalice: reply four');
    const relations = stage.events.slice(-2).map((event) => event.content['m.relates_to']);
    expect(relations).toEqual([{ rel_type: 'm.replace', event_id: '$0' }, { 'm.in_reply_to': { event_id: '$2' } }]);
    expect(await failure('carol: edit x')).toMatch(/expected an earlier message of carol/);
  });
});

describe('programs', () => {
  test("the shell's output is an answer, what is forbidden in it too", async () => {
    stage.outcome = { exit: 0, output: 'USER\n@alice:x' };
    await play('shell: user list\nsteward: /@alice/');
    expect(stage.ran).toEqual([{ command: 'steward user list', input: '' }]);
    expect(await failure('never: /@alice/\nshell: steward user list')).toMatch(/^1: /);
  });

  test('another exit code than expected fails', async () => {
    stage.outcome = { exit: 3, output: 'error: refused' };
    await play('shell(3): user deactivate bob');
    expect(await failure('shell: user deactivate bob')).toBe('1: expected exit code 0; found 3 and the output\n    error: refused');
    expect(await failure('run: false')).toMatch(/^1: expected exit code 0; found 3/);
  });
});
