import { steward, type AuditActor, type AuditEntry } from '../audit/audit.ts';
import type { AuditLog } from '../audit/log.ts';
import type { Clock } from '../clock.ts';
import type { Requester } from '../commands/context.ts';
import { whomToAsk, type Ask, type Dispatcher, type Prepared } from '../commands/dispatch.ts';
import type { Config } from '../config/schema.ts';
import { asFailure, Failure, type FailureDetails } from '../failures/failure.ts';
import { list, text, type Line } from '../reply/parts.ts';
import { failureReply, type Outcome, type Reply } from '../reply/reply.ts';
import type { Inbox, InboxEvent } from '../store/inbox.ts';
import type { OutboxEntry } from '../store/outbox.ts';
import type { Post, PostKind, Posts } from '../store/posts.ts';
import type { Store } from '../store/store.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Job, SettledJob } from '../workflow/job.ts';
import type { Approvals } from '../workflow/approvals.ts';
import type { ApprovalRecord } from '../store/approvals.ts';
import { promptReply } from '../commands/prompt.ts';
import { RateLimit } from '../commands/rate-limit.ts';
import type { Jobs } from '../workflow/jobs.ts';
import { operatorAccounts, personOf } from '../workflow/roles.ts';
import { plainKey, Reactions, verdictOf } from './reactions.ts';
import type { MatrixClient } from './client.ts';
import type { EventReader } from './event-reader.ts';
import type { Exports } from './exports.ts';
import { itemsFor } from './items.ts';
import type { Locked, Reading, RoomCommand } from './message.ts';
import type { Place } from './outgoing.ts';
import type { Sender } from './sender.ts';
import { nameOfLong, type Buttons, type RoomWriter } from './writer.ts';

export interface RoomOptions {
  roomId: string;
  config: () => Config;
  client: () => MatrixClient;
  read: EventReader;
  store: Store;
  inbox: Inbox;
  posts: Posts;
  writer: RoomWriter;
  jobs: () => Jobs;
  audit: AuditLog;
  approvals: Approvals;
  sender: Sender;
  dispatcher: Dispatcher;
  exports: Exports;
  clock: Clock;
  log: Log;
  metrics: () => Metrics;
  jobReply: (job: SettledJob) => Reply;
  /** What a reaction on a message of this kind does; prompts of jobs are the room's own. */
  buttons: Partial<Record<PostKind, Button>>;
  /** Whether a line without prefix and name holds a secret, or what may be one. */
  holdsSecret: (line: string) => boolean;
}

/** A press of a button: the answer, or the command that it stands for; null where the key means nothing. */
export type Button = (press: { post: Post; key: string; userId: string; isLate: boolean }) => Reply | { line: string } | null;

/** Missed commands that one message lists, so that it is never too long. */
const missedInOne = 50;
/** Milliseconds between edits of a progress message: a twentieth of what has passed, within these. */
const [progressSoonest, progressLatest] = [3000, 60_000];
/** Milliseconds after which a command shows that it is under way. */
const hourglassAfter = 1000;
/** Milliseconds until an event is tried again that the store had no space for. */
const storeRetry = 5000;

/** What is said of a message that is not acted on. */
const lockedWords: Readonly<Record<Locked['why'], FailureDetails>> = {
  plain: {
    attempted: 'run this',
    reason: 'the message was not encrypted, and this room is',
    hint: 'Send it again from a client that encrypts.',
  },
  unsigned: {
    attempted: 'run this',
    reason: 'it was sent from a device that its owner has not verified',
  },
  'missing-key': {
    attempted: 'read this',
    reason: 'its key has not arrived',
    hint: 'When the key comes, the message is taken then; otherwise send it again.',
  },
  undecryptable: { attempted: 'read this', reason: 'it cannot be decrypted', hint: 'Send it again.' },
};

/** The admin room: events of the inbox become commands and confirmations, and what they come to goes into the outbox. */
export class AdminRoom {
  readonly #options: RoomOptions;
  /** A person's commands run in the order in which they were typed. */
  readonly #turns = new Map<string, Promise<void>>();
  /** What waits for nobody's turn. */
  readonly #aside = new Set<Promise<void>>();
  readonly #progress = new Map<string, { began: number; at: number; edits: number }>();

  readonly #reactions: Reactions;
  readonly #rate: RateLimit;

  constructor(options: RoomOptions) {
    this.#options = options;
    this.#rate = new RateLimit(options.clock, options.config);
    const { approvals, audit, config, store, writer } = options;
    this.#reactions = new Reactions({
      ...{ approvals, audit, config, store, writer },
      done: (event) => {
        this.#done(event);
      },
    });
  }

  /** Handles events that are in the inbox. A failing one is answered and logged; the others go on. */
  handle(events: readonly InboxEvent[]): void {
    const isMissed = (event: InboxEvent): boolean =>
      event.type === 'm.room.message' &&
      event.content['kind'] === 'command' &&
      this.#isOld(event) &&
      !this.#options.inbox.isRemoved(event.eventId);
    const missed = events.filter(isMissed);
    try {
      if (missed.length > 0) this.#tellMissed(missed);
    } catch (error) {
      this.#later(missed, error);
    }
    for (const event of events) {
      if (missed.includes(event)) continue;
      if (event.type === 'm.room.redaction') {
        // At once: what it takes back must not run meanwhile.
        this.#takeBack(event);
        continue;
      }
      if (isVeto(event)) {
        // Nor may a refusal be late because its sender's last command takes long.
        const handled = this.#handleOne(event);
        this.#aside.add(handled);
        void handled.finally(() => this.#aside.delete(handled));
        continue;
      }
      const turn = (this.#turns.get(event.sender) ?? Promise.resolve()).then(() => this.#handleOne(event));
      this.#turns.set(event.sender, turn);
      void turn.finally(() => {
        if (this.#turns.get(event.sender) === turn) this.#turns.delete(event.sender);
      });
    }
  }

  /** Resolves when every event that was given has been handled. */
  async idle(): Promise<void> {
    await Promise.all([...this.#turns.values(), ...this.#aside]);
  }

  /** In the transaction that makes a job or shows it again: asks those who may approve it. */
  asked(job: Job, approval: ApprovalRecord): void {
    const { approvals, clock, config, writer } = this.#options;
    if (approval.place !== 'room') return;
    const prompt = promptReply(config(), job, approval, approvals.approversOf(job, approval), clock.now());
    // What must be typed has no button.
    writer.prompt(job, prompt, approval.round, approval.typed === null ? ['✅', '❌'] : ['❌']);
    queueMicrotask(() => {
      this.#options.sender.kick();
    });
  }

  /** One message, edited while the time runs in which a job can be vetoed. */
  countdown(job: Job, left: number): void {
    const { approvals, clock, config, store, writer } = this.#options;
    store.transaction(() => {
      const isStopped = !['approved', 'running'].includes(approvals.job(job.id)?.state ?? '');
      writer.countdown(job, approvals.decisions(job.id), isStopped ? null : left, operatorAccounts(config()), clock.now());
    });
    this.#options.sender.kick();
  }

  /** In the transaction that ends a job. */
  settled(job: SettledJob): void {
    const { approvals, writer } = this.#options;
    if (job.origin.kind !== 'room') {
      // What people of the room were asked, or must know of, is told to them too; a run of a schedule is reported as one.
      const isTold = approvals.get(job.id)?.place === 'room' || job.ending?.kind === 'break-glass';
      if (job.origin.kind === 'shell' && isTold) writer.reply(job.id, this.#options.jobReply(job), writer.open, null);
      queueMicrotask(() => {
        this.#options.sender.kick();
      });
      return;
    }
    const { eventId } = job.origin;
    const reply = this.#options.jobReply(job);
    const isDone = job.state === 'done';
    this.#progress.delete(job.id);
    const mentions = isDone || job.requester.kind !== 'person' ? [] : [job.requester.userId];
    writer.reply(job.id, { ...reply, mentions }, writer.placeOf(job), null);
    writer.unmark(eventId, '⏳');
    writer.mark(eventId, isDone ? '✅' : '❌');
    this.#options.metrics().command(job.command, reply.outcome, ((job.finishedAt ?? job.createdAt) - job.createdAt) / 1000);
    queueMicrotask(() => {
      this.#options.sender.kick();
    });
  }

  /** One message, edited as the items of a long job end, or as it says what it does. */
  progress(job: Job, finished: number, words?: string): void {
    const { clock, store, writer } = this.#options;
    if (job.origin.kind !== 'room') return;
    const now = clock.monotonic();
    const state = this.#progress.get(job.id) ?? { began: now, at: now, edits: -1 };
    this.#progress.set(job.id, state);
    if (now - state.at < Math.min(progressLatest, Math.max(progressSoonest, (now - state.began) / 20))) return;
    state.at = now;
    state.edits += 1;
    store.transaction(() => {
      writer.progress(job, words ?? `${finished} of ${job.plan.items.length} done`, state.edits);
    });
    this.#options.sender.kick();
  }

  /** A message to everybody in the room, sent once for the same cause; with a file where `spool` has made one, and with buttons. */
  announce(cause: string, reply: Reply, file: string | null = null, buttons: Buttons | null = null): void {
    this.#options.store.transaction(() => {
      this.#options.writer.reply(cause, reply, this.#options.writer.open, file, buttons);
    });
    // The caller's transaction may still be open.
    queueMicrotask(() => {
      this.#options.sender.kick();
    });
  }

  /** Writes the rows or the long text of a reply to a file. @returns its path, or null when there is none */
  async spool(reply: Reply): Promise<string | null> {
    const { exports, writer } = this.#options;
    if (reply.data !== undefined) return exports.write(reply.data.name, reply.data.chunks);
    const long = writer.tooLong(reply);
    return long === null ? null : exports.write(nameOfLong(reply), asChunks(long));
  }

  async #handleOne(event: InboxEvent): Promise<void> {
    try {
      // Its sender, or a moderator, took it back while it waited for its turn.
      if (this.#options.inbox.isRemoved(event.eventId)) return;
      await this.#act(event).catch((error: unknown) => {
        const failure = asFailure(error);
        if (failure.id === 'store.unwritable' || failure.id === 'audit.unwritable') throw failure;
        this.#options.log.error('an event could not be handled', { event_id: event.eventId, failure: failure.id, error });
        this.#answer(event, failureReply(failure, null), this.#placeOfEvent(event, null));
      });
    } catch (error) {
      this.#later([event], error);
    }
  }

  /** Nothing has happened where the store could not be written: the events are still in the inbox, and tried again. */
  #later(events: readonly InboxEvent[], error: unknown): void {
    this.#options.log.error('events are handled later', { count: events.length, error });
    void this.#options.clock.sleep(storeRetry).then(() => {
      this.handle(events);
    });
  }

  async #act(event: InboxEvent): Promise<void> {
    if (event.type === 'm.reaction') await this.#reaction(event);
    else await this.#message(event, event.content as unknown as Reading);
  }

  async #message(event: InboxEvent, reading: Reading): Promise<void> {
    const { dispatcher, clock, client, read } = this.#options;
    const started = clock.monotonic();
    if (reading.kind === 'secret') {
      this.#takeBackSecret(event, reading.certain);
      return;
    }
    if (reading.kind === 'locked') {
      this.#refuseLocked(event, reading);
      return;
    }
    if (reading.kind === 'edit') {
      this.#answer(
        event,
        { command: null, outcome: 'refused', parts: [text('Edited messages are not run. Send the command as a new message.')] },
        this.#placeOfEvent(event, null),
      );
      return;
    }
    if (reading.kind === 'none') return;
    const { command } = reading;
    const place = this.#placeOfEvent(event, command.threadId);
    const requester = this.#requesterOf(event, place);
    if (requester === null) return;
    const items = await itemsFor(command, {
      client: client(),
      read,
      roomId: event.roomId,
      isEncrypted: event.trust.kind === 'decrypted',
    });
    // A code block was looked at by intake; a file is read only now.
    if (command.items === null && items?.some((item) => this.#options.holdsSecret(`${command.line} ${item}`)) === true) {
      this.#takeBackSecret(event, true);
      return;
    }
    const ask: Ask = {
      id: event.eventId,
      requester,
      origin: {
        kind: 'room',
        roomId: event.roomId,
        eventId: event.eventId,
        threadId: command.threadId,
        trust: event.trust,
        json: /(?:^|\s)--json(?:\s|$)/.test(command.line),
      },
      input: { line: command.line },
      items,
      secrets: new Map(),
      message: { eventId: event.eventId, trust: event.trust, caughtUp: event.caughtUp },
    };
    await this.#carryOut(event, await this.#timed(event.eventId, dispatcher.prepare(ask)), place, started);
  }

  async #carryOut(event: InboxEvent, prepared: Prepared, place: Place, started: number): Promise<void> {
    const { inbox, store, jobs, sender, metrics, clock } = this.#options;
    if (prepared.kind === 'answer') {
      const { reply } = prepared;
      const file = await this.spool(reply);
      this.#answer(event, reply, place, file, prepared.refusal);
      if (reply.command !== null) metrics().command(reply.command, reply.outcome, (clock.monotonic() - started) / 1000);
      return;
    }
    const { request } = prepared;
    const job = store.transaction(() => {
      if (inbox.isRemoved(event.eventId)) return null;
      const created = jobs().create(request);
      this.#done(event);
      return created;
    });
    if (job === null) return;
    sender.kick();
    const { origin } = request;
    if (request.need === null) void this.#timed(origin.kind === 'room' ? origin.eventId : event.eventId, jobs().start(job.id));
  }

  async #reaction(event: InboxEvent): Promise<void> {
    const { posts, sender, writer } = this.#options;
    const { about, key } = event.content as { about: string; key: string };
    const isLate = event.caughtUp || this.#isOld(event);
    let post = posts.find(about);
    if (post === null) {
      // The reaction may have come before the answer to the message's own sending.
      await sender.idle();
      post = posts.find(about);
    }
    const button = post === null ? undefined : this.#options.buttons[post.kind];
    if (post === null) this.#done(event);
    else if (button === undefined) this.#reactions.handle(event, post, isLate);
    else {
      const reply = button({ post, key: plainKey(key), userId: event.sender, isLate });
      if (reply === null) this.#done(event);
      else if ('line' in reply) await this.#pressed(event, reply.line, about);
      else this.#answer(event, reply, { ...writer.open, replyTo: about });
    }
    sender.kick();
  }

  /** A reaction that stands for a command: the same as if its sender had typed that, under the message that it is on. */
  async #pressed(event: InboxEvent, line: string, about: string): Promise<void> {
    const { clock, dispatcher, writer } = this.#options;
    const started = clock.monotonic();
    const place = { ...writer.open, replyTo: about };
    const requester = this.#requesterOf(event, place);
    if (requester === null) return;
    const { trust, caughtUp, eventId } = event;
    const ask: Ask = {
      ...{ id: eventId, requester, input: { line }, items: null, secrets: new Map() },
      origin: { kind: 'room', roomId: event.roomId, eventId: about, threadId: null, trust },
      message: { eventId, trust, caughtUp },
    };
    await this.#carryOut(event, await dispatcher.prepare(ask), place, started);
  }

  /** Who asks, where that may be listened to; else it is answered here, and null. */
  #requesterOf(event: InboxEvent, place: Place): Requester | null {
    const person = personOf(this.#options.config(), event.sender);
    if (person === null) {
      this.#refuseStranger(event, place);
      return null;
    }
    const pace = this.#rate.take(person);
    if (pace === 'refused') this.#answer(event, failureReply(new Failure('access.rate-limited'), null), place);
    else if (pace !== 'taken') this.#done(event);
    return pace === 'taken' ? { kind: 'person', person, userId: event.sender } : null;
  }

  #takeBack(event: InboxEvent): void {
    try {
      this.#reactions.withdrawn(event);
      this.#options.sender.kick();
    } catch (error) {
      this.#later([event], error);
    }
  }

  /** An approved job is started by the one who approves it; here it gets its hourglass. */
  approved(job: Job): void {
    if (job.origin.kind === 'room') void this.#timed(job.origin.eventId, this.#options.jobs().start(job.id));
  }

  #takeBackSecret(event: InboxEvent, certain: boolean): void {
    const { audit, store, sender, writer } = this.#options;
    // Not pointed at, so that no client quotes what has just been removed.
    const place = { ...this.#placeOfEvent(event, null), replyTo: null };
    const reply = failureReply(
      certain
        ? new Failure('usage.secret-in-command')
        : new Failure('usage.secret-in-command', {
            reason: 'the message had a word too many where a password is set, which may have been one; it was removed, and not run',
            hint: 'Leave the password out: Steward makes one. Rotate it if it was one; a name with spaces needs quotes.',
          }),
      null,
    );
    store.transaction(() => {
      audit.record({ event: 'secret.removed', actor: this.#actorOf(event), eventId: event.eventId });
      writer.redact(event.eventId, 'it held a secret', event.sender);
      writer.reply(event.eventId, { ...reply, mentions: [event.sender] }, place, null);
      this.#done(event);
    });
    sender.kick();
  }

  /** 🔒 on the message, and one word about why for each session or sender. */
  #refuseLocked(event: InboxEvent, { why, session }: Locked): void {
    const { audit, store, sender, writer } = this.#options;
    const about = why === 'missing-key' || why === 'undecryptable' ? (session ?? '') : event.sender;
    const reply = { ...failureReply(new Failure('crypto.locked', lockedWords[why]), null), mentions: [event.sender] };
    store.transaction(() => {
      audit.record({
        event: 'access.locked',
        actor: this.#actorOf(event),
        eventId: event.eventId,
        failure: 'crypto.locked',
        detail: { why },
      });
      writer.mark(event.eventId, '🔒');
      writer.reply(`locked-${why}-${about}`, reply, this.#placeOfEvent(event, null), null);
      this.#done(event);
    });
    sender.kick();
  }

  /** The server did not let Steward remove what somebody typed: said plainly, in the transaction that gives it up. */
  notRemoved(entry: OutboxEntry): void {
    const { audit, sender, writer } = this.#options;
    // Reactions of Steward's own are taken away too; those may stay.
    const eventId = entry.content['redacts'];
    if (typeof eventId !== 'string') return;
    audit.record({ event: 'secret.not-removed', actor: steward, eventId });
    const reply = failureReply(new Failure('room.not-removed'), null);
    writer.reply(`not-removed-${eventId}`, { ...reply, mentions: [String(entry.content['sender'])] }, writer.open, null);
    queueMicrotask(() => {
      sender.kick();
    });
  }

  #refuseStranger(event: InboxEvent, place: Place): void {
    const { audit, config, store, sender, writer } = this.#options;
    const reply = failureReply(new Failure('access.no-role', { hint: whomToAsk(config()) }), null);
    store.transaction(() => {
      // One refusal and one record a person: a room of strangers is not flooded.
      if (!audit.knowsStranger(event.sender))
        audit.record({ event: 'access.stranger', actor: this.#actorOf(event), eventId: event.eventId });
      writer.reply(`no-role-${event.sender}`, reply, place, null);
      this.#done(event);
    });
    sender.kick();
  }

  #tellMissed(events: readonly InboxEvent[]): void {
    for (let at = 0; at < events.length; at += missedInOne) this.#tellSomeMissed(events.slice(at, at + missedInOne));
  }

  #tellSomeMissed(events: readonly InboxEvent[]): void {
    const { clock, store, sender, writer } = this.#options;
    const now = clock.now();
    const lines = events.map((event): Line => {
      const line = (event.content['command'] as RoomCommand | undefined)?.line ?? '';
      const seconds = event.ageMs === null ? null : Math.round((event.ageMs + now - event.receivedAt) / 1000);
      const ago = seconds === null ? '' : seconds < 120 ? `, ${seconds} s ago` : `, ${Math.round(seconds / 60)} min ago`;
      // Only its first words: arguments may be anything, and nobody is there to see a mistake.
      return [{ code: `!${line.split(/\s+/u).slice(0, 2).join(' ').slice(0, 40)} …` }, ' by ', { id: event.sender }, ago];
    });
    const first = events[0];
    if (first === undefined) return;
    store.transaction(() => {
      writer.reply(
        `missed-${first.eventId}`,
        {
          command: null,
          outcome: 'refused',
          parts: [text({ strong: 'Not run,' }, ' because they were sent while I was away. Send again what is still wanted:'), list(lines)],
          mentions: [...new Set(events.map((event) => event.sender))],
        },
        writer.open,
        null,
      );
      for (const event of events) this.#done(event);
    });
    sender.kick();
  }

  /** @param refusal what the audit is told of it */
  #answer(event: InboxEvent, reply: Reply, place: Place, file: string | null = null, refusal: AuditEntry | null = null): void {
    const { audit, store, sender, writer } = this.#options;
    store.transaction(() => {
      if (refusal !== null) audit.record(refusal);
      writer.reply(event.eventId, reply, place, file);
      writer.unmark(event.eventId, '⏳');
      const failed: Outcome[] = ['failed', 'usage', 'refused', 'unreachable'];
      if (event.type === 'm.room.message' && failed.includes(reply.outcome)) writer.mark(event.eventId, '❌');
      this.#done(event);
    });
    sender.kick();
  }

  /** ⏳ on a command that takes long; its answer takes it away. */
  async #timed<T>(eventId: string, work: Promise<T>): Promise<T> {
    const { clock, log, store, sender, writer } = this.#options;
    const done = new AbortController();
    const hourglass = clock
      .sleep(hourglassAfter, done.signal)
      .then(() => {
        if (done.signal.aborted) return;
        store.transaction(() => {
          writer.mark(eventId, '⏳');
        });
        sender.kick();
      })
      .catch((error: unknown) => {
        // It is for show: the work goes on without it.
        log.warn('a command could not be marked', { event_id: eventId, error });
      });
    try {
      return await work;
    } finally {
      done.abort();
      await hourglass;
    }
  }

  #done(event: InboxEvent): void {
    const { clock, inbox, store } = this.#options;
    store.transaction(() => inbox.handled(event.eventId, clock.now()));
  }

  #isOld(event: InboxEvent): boolean {
    const { clock, config } = this.#options;
    return event.ageMs === null || event.ageMs + (clock.now() - event.receivedAt) > config().limits.commandAge;
  }

  #actorOf(event: InboxEvent): AuditActor {
    const { sender: userId, trust } = event;
    const person = personOf(this.#options.config(), userId);
    return person === null ? { kind: 'stranger', userId, trust } : { kind: 'person', person, userId, trust };
  }

  #placeOfEvent(event: InboxEvent, threadId: string | null): Place {
    return { roomId: event.roomId, replyTo: event.eventId, threadId };
  }
}

/** Whether it refuses: by ❌, or by a command. */
function isVeto({ type, content }: InboxEvent): boolean {
  if (type === 'm.reaction') return verdictOf(String(content['key'])) === 'veto';
  const { kind, command } = content as { kind?: string; command?: RoomCommand };
  return type === 'm.room.message' && kind === 'command' && /^(?:approval\s+)?veto\b/iu.test(command?.line.trim() ?? '');
}

async function* asChunks(body: string): AsyncGenerator<string> {
  yield await Promise.resolve(body);
}
