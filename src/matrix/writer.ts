import type { Clock } from '../clock.ts';
import type { Config } from '../config/schema.ts';
import { code, text, type Line } from '../reply/parts.ts';
import { renderPlain, type TextOptions } from '../reply/plain.ts';
import type { Reply } from '../reply/reply.ts';
import type { Decision } from '../store/decisions.ts';
import type { Outbox, OutboxKind } from '../store/outbox.ts';
import type { Post } from '../store/posts.ts';
import type { Job } from '../workflow/job.ts';
import { contentOf, fileContentOf, longestBody, reactionOf, txnId, type Place } from './outgoing.ts';

/** What an entry has beside its content. */
interface More {
  kind?: Exclude<OutboxKind, 'm.room.message' | 'secret'>;
  aboutTxn?: string;
  post?: Post;
  file?: string;
}

/** Reactions under a message that mean something there. */
export interface Buttons {
  post: Post;
  keys: readonly string[];
}

/**
 * Puts what is said in the room into the outbox, always inside the caller's transaction. The transaction ids come from
 * the cause and the purpose, so that the same thing said again is the same event.
 */
export class RoomWriter {
  readonly #roomId: string;
  readonly #outbox: Outbox;
  readonly #clock: Clock;
  readonly #config: () => Config;

  constructor(options: { roomId: string; outbox: Outbox; clock: Clock; config: () => Config }) {
    this.#roomId = options.roomId;
    this.#outbox = options.outbox;
    this.#clock = options.clock;
    this.#config = options.config;
  }

  /** A place of its own in the room, which answers nothing. */
  get open(): Place {
    return { roomId: this.#roomId, replyTo: null, threadId: null };
  }

  placeOf(job: Job): Place {
    return job.origin.kind === 'room' ? { roomId: this.#roomId, replyTo: job.origin.eventId, threadId: job.origin.threadId } : this.open;
  }

  /** The plain text of a reply when it is too long for a message, else null. */
  tooLong(reply: Reply): string | null {
    const body = renderPlain(reply.parts, this.#text(reply));
    return body.length <= longestBody ? null : body;
  }

  /** @param file path of the rows or the long text of the reply; null when there is none, and what is too long is cut */
  reply(cause: string, reply: Reply, place: Place, file: string | null, buttons: Buttons | null = null): void {
    const long = this.tooLong(reply);
    const rest = file === null ? 'The rest was cut.' : 'All of it is in the file.';
    const shown = long === null ? reply : { ...reply, parts: [text(`${long.slice(0, 500)}…`), text(rest)] };
    const txn = txnId(cause, 'reply');
    this.#add(txn, contentOf(shown, place, this.#text(reply)), buttons === null ? {} : { post: buttons.post });
    for (const key of buttons?.keys ?? [])
      this.#add(txnId(cause, `button-${key}`), reactionOf(null, key), { kind: 'm.reaction', aboutTxn: txn });
    if (file === null) return;
    const { name, mediaType } = reply.data ?? { name: nameOfLong(reply), mediaType: 'text/plain' };
    this.#add(txnId(cause, 'file'), fileContentOf(reply, place, name, mediaType), { kind: 'file', file });
  }

  /** The question of a job, with the reactions that answer it. A later `round` asks again. */
  prompt(job: Job, prompt: Reply, round: number, keys: readonly string[]): void {
    const txn = txnId(job.id, `prompt-${round}`);
    this.#add(txn, contentOf(prompt, this.placeOf(job), this.#text(prompt)), { post: { kind: 'prompt', ref: job.id } });
    for (const key of keys) {
      this.#add(txnId(job.id, `prompt-${round}-${key}`), reactionOf(null, key), { kind: 'm.reaction', aboutTxn: txn });
    }
  }

  /** How far a job is: the first time a message, then edits of it. */
  progress(job: Job, words: string, edits: number): void {
    const line = `⏳ ${job.command}: ${words}.`;
    const reply: Reply = { command: job.command, outcome: 'waiting', jobId: job.id, parts: [text(line)] };
    const content = contentOf(reply, this.placeOf(job), this.#text(reply));
    const first = txnId(job.id, 'progress-0');
    if (edits === 0) {
      this.#add(first, content);
      return;
    }
    const edit = { ...content, body: `* ${line}`, 'm.new_content': content, 'm.relates_to': { rel_type: 'm.replace' } };
    this.#add(txnId(job.id, `progress-${edits}`), edit, { aboutTxn: first });
  }

  /** A file that hands a secret over, encrypted. @param ref of the handover: one file each */
  handover(ref: string, file: { name: string; path: string }, place: Place): void {
    const content = fileContentOf({ command: null, outcome: 'done', parts: [] }, place, file.name, 'text/plain');
    this.#add(txnId(ref, 'handover'), content, { kind: 'file', file: file.path, post: { kind: 'handover', ref } });
  }

  /** Makes room for a secret that is told to one person; the text comes when it is encrypted. @param ref of the handover */
  secret(ref: string, roomId: string): void {
    this.#outbox.add(
      { txnId: txnId(ref, 'secret'), roomId, kind: 'secret', content: {}, post: { kind: 'handover', ref } },
      this.#clock.now(),
    );
  }

  /** What such a message says. @param note lines to be forwarded */
  secretContent(account: string, note: string, roomId: string): Record<string, unknown> {
    const minutes = Math.max(1, Math.round(this.#config().secrets.dm.remove / 60_000));
    const parts = [
      text('The password of ', { id: account }, ', to forward:'),
      code(note.trimEnd()),
      text(`React 👁 when you have it, and I remove this message; I do so by myself after ${minutes} min.`),
    ];
    return contentOf({ command: null, outcome: 'done', parts }, { roomId, replyTo: null, threadId: null }, this.#text({}));
  }

  /** A message that says until when a job can still be vetoed: the first time one of its own, then edits of it. @param left milliseconds; null where it was stopped */
  countdown(job: Job, decisions: readonly Decision[], left: number | null, operators: readonly string[], now: number): void {
    const first = txnId(job.id, `countdown-${job.approvedAt ?? 0}`);
    const isFirst = !this.#outbox.has(first);
    const by = decisions.filter(({ verdict }) => verdict === 'approve').map(({ person }) => person);
    const what = left !== null && left > 0 ? `runs in ${Math.ceil(left / 1000)} s; ❌ or ` : 'can be vetoed no more.';
    const line: Line = [
      { strong: job.command },
      ` ${job.plan.items
        .flatMap(({ targets }) => targets.map(({ id }) => id))
        .slice(0, 3)
        .join(', ')}${left === null ? ' was stopped.' : `, approved by ${by.join(' and ')}: ${what}`}`,
      ...(left !== null && left > 0 ? [{ command: `veto ${job.id}` }, ' stops it.'] : []),
    ];
    const reply: Reply = {
      command: job.command,
      outcome: 'waiting',
      jobId: job.id,
      parts: [text(...line)],
      mentions: isFirst ? operators : [],
    };
    const content = contentOf(reply, this.placeOf(job), this.#text(reply));
    if (isFirst) {
      this.#add(first, content, { post: { kind: 'countdown', ref: job.id } });
      this.#add(txnId(job.id, `countdown-${job.approvedAt ?? 0}-❌`), reactionOf(null, '❌'), { kind: 'm.reaction', aboutTxn: first });
      return;
    }
    const edit = { ...content, body: `* ${String(content['body'])}`, 'm.new_content': content, 'm.relates_to': { rel_type: 'm.replace' } };
    this.#add(txnId(job.id, `countdown-${job.approvedAt ?? 0}-${now}`), edit, { aboutTxn: first });
  }

  /** Takes somebody's message away. @param sender who is told when the server does not allow it */
  redact(eventId: string, reason: string, sender: string): void {
    this.#add(txnId(eventId, 'redact'), { redacts: eventId, reason, sender }, { kind: 'redaction' });
  }

  /** A reaction on somebody's message. */
  mark(eventId: string, key: string): void {
    this.#add(txnId(eventId, `mark-${key}`), reactionOf(eventId, key), { kind: 'm.reaction' });
  }

  /** Takes a reaction of ours away again, where there is one. */
  unmark(eventId: string, key: string): void {
    const mark = txnId(eventId, `mark-${key}`);
    if (this.#outbox.has(mark)) this.#add(txnId(eventId, `unmark-${key}`), { reason: 'done' }, { kind: 'redaction', aboutTxn: mark });
  }

  #add(txn: string, content: Record<string, unknown>, more: More = {}): void {
    this.#outbox.add({ txnId: txn, roomId: this.#roomId, content, ...more, kind: more.kind ?? 'm.room.message' }, this.#clock.now());
  }

  #text(reply: Pick<Reply, 'wide'>): TextOptions {
    return { timeZone: this.#config().timeZone, prefix: '!', wide: reply.wide === true };
  }
}

export function nameOfLong(reply: Reply): string {
  return `${reply.command?.replaceAll(' ', '-') ?? 'answer'}.txt`;
}
