import fc from 'fast-check';
import type { Ids } from '../../src/clock.ts';
import { ModelClock } from './clock.ts';
import type { ModelDatabase } from './database.ts';
import type { Place } from './place.ts';
import type { SentEvent, Server, WriteFault } from './server.ts';
import { modelConfig, ModelSteward, type ModelWorld } from './steward.ts';
import { Things, verbs, type Verb } from './things.ts';

/** alice has two accounts, bob one; carol has no role. */
export const people = ['@alice:model', '@alice2:model', '@bob:model', '@carol:model'] as const;
type Account = (typeof people)[number];

const personOf: Record<Account, string | null> = {
  '@alice:model': 'alice',
  '@alice2:model': 'alice',
  '@bob:model': 'bob',
  '@carol:model': null,
};
const minute = 60_000;
/** Milliseconds of real time that files are given. */
const patience = 60_000;

/** What one request was, and what may come of it. */
interface Request {
  eventId: string;
  account: Account;
  verb: Verb;
  thing: string;
  /** When its effect came; null where there is none. */
  effect: Effect | null;
}

/** A moment of a history, by the number of events. */
interface Effect {
  /** How many Steward had been given. */
  delivered: number;
  /** How many of these it had had time to look at. */
  settled: number;
  /** Whether it had heard a refusal. */
  isRefused: boolean;
}

/** A homeserver, things, and Steward or not; what was asked is known. */
export class History implements ModelWorld {
  readonly database: ModelDatabase;
  readonly clock: ModelClock;
  readonly server: Server;
  readonly things: Things;
  readonly config;
  readonly requests: Request[] = [];
  readonly ids: Ids;
  #steward: ModelSteward | null = null;
  #settled = 0;
  /** Refusals that Steward may not have heard yet, and those that it has, by the event of the prompt. */
  #refusals: { prompt: string; eventId: string }[] = [];
  readonly #heard = new Set<string>();

  private constructor({ dir, database }: Place, clock: ModelClock, server: Server) {
    this.database = database;
    this.clock = clock;
    this.server = server;
    this.things = new Things((thing) => {
      const request = this.requests.find((one) => one.thing === thing);
      if (request === undefined) return;
      const isRefused = this.answersTo(request.eventId).prompts.some((prompt) => this.#heard.has(prompt.event_id));
      request.effect ??= { delivered: this.server.delivered, settled: this.#settled, isRefused };
    });
    this.ids = countingIds();
    const owner = (...userIds: Account[]): object => ({ user_ids: userIds, roles: ['owner'] });
    this.config = modelConfig(this.server, dir, {
      people: { alice: owner('@alice:model', '@alice2:model'), bob: owner('@bob:model') },
      approval: { catastrophic_in_plain_room: true },
    });
  }

  static async begin(place: Place): Promise<History> {
    const clock = new ModelClock(Date.UTC(2026, 10, 22, 12));
    return new History(place, clock, await place.openRoom(clock));
  }

  get isUp(): boolean {
    return this.#steward !== null;
  }

  async start(): Promise<void> {
    this.#steward ??= await ModelSteward.start(this);
    await this.settle();
  }

  kill(): void {
    this.#refusals = [];
    this.#steward?.kill();
    this.#steward = null;
  }

  /** The wall clock jumps: what is on its way may be too old now. */
  jump(ms: number): void {
    this.#refusals = [];
    this.clock.jump(ms);
  }

  /** Somebody reacts on a prompt. */
  async react(account: Account, prompt: SentEvent, key: string): Promise<string> {
    const eventId = await this.server.send(account, 'm.reaction', {
      'm.relates_to': { rel_type: 'm.annotation', event_id: prompt.event_id, key },
    });
    if (key.startsWith('❌') && personOf[account] !== null && this.isUp) this.#refusals.push({ prompt: prompt.event_id, eventId });
    return eventId;
  }

  async stop(): Promise<void> {
    this.#refusals = [];
    await this.#steward?.stop(() => this.settle());
    this.#steward = null;
  }

  async ask(account: Account, verb: Verb): Promise<void> {
    const thing = `thing${this.requests.length}`;
    const eventId = await this.server.send(account, 'm.room.message', { msgtype: 'm.text', body: `!thing ${verb} ${thing}` });
    this.requests.push({ eventId, account, verb, thing, effect: null });
  }

  /**
   * Somebody asks for something, and whoever must approve it does, as soon as there is a prompt.
   *
   * @param before called when there is one
   * @returns the approval, or null where none is needed or there is no prompt
   */
  async askAndApprove(account: Account, verb: Verb, before: () => void = () => undefined): Promise<SentEvent | null> {
    await this.ask(account, verb);
    if (verb === 'change') return null;
    await this.settle();
    const { eventId } = this.requests.at(-1)!;
    const prompt = this.answersTo(eventId).prompts.at(-1);
    if (prompt === undefined) return null;
    before();
    const code = codeIn(prompt);
    const approval =
      code === null
        ? await this.react(verb === 'confirm' ? account : '@bob:model', prompt, '✅')
        : await this.server.send('@bob:model', 'm.room.message', { msgtype: 'm.text', body: `!approve ${code}` });
    return this.server.event(approval) ?? null;
  }

  /** Lets everything run that can run while time stands still; @param moments as of `Server.rest` */
  async settle(moments = 12): Promise<void> {
    const { delivered } = this.server;
    await this.server.rest(moments);
    if (moments < 12) return;
    this.#settled = delivered;
    // One that was taken back before it was brought is none.
    for (const { prompt, eventId } of this.#refusals.splice(0)) {
      const refusal = this.server.event(eventId);
      // One that comes late may be too old to be heeded.
      if (refusal?.isStale === false && refusal.redactedBy === null) this.#heard.add(prompt);
    }
  }

  /** Lets so many moments pass; what needs more of them is in the middle of it. */
  async moments(count: number): Promise<void> {
    for (let moment = 0; moment < count; moment += 1) await this.server.moment();
  }

  async pass(ms: number): Promise<void> {
    const careful = Math.min(ms, minute / 2);
    await this.clock.advance(careful, () => this.settle(6));
    if (ms > careful) this.clock.leap(ms - careful);
    await this.settle();
  }

  /** Brings Steward up and lets all that waits come to its end. */
  async finish(): Promise<void> {
    this.server.faults.length = 0;
    this.server.release();
    await this.start();
    await this.settle(60);
    await this.pass(20 * minute);
    await this.pass(48 * 60 * minute);
    await this.settle(60);
    // Files are read and removed in a time of their own.
    for (const until = performance.now() + patience; performance.now() < until && this.faults().length > 0;) {
      await new Promise((resolve) => setTimeout(resolve, 2));
      await this.pass(10_000);
    }
  }

  /** The messages of Steward that answer an event, prompts apart. */
  answersTo(eventId: string): { final: SentEvent[]; prompts: SentEvent[] } {
    const all = this.server.events.filter((event) => event.sender === this.server.botId && answered(event) === eventId);
    return {
      final: all.filter((event) => outcomeOf(event) !== 'waiting' && !isRemark(event)),
      prompts: all.filter((event) => outcomeOf(event) === 'waiting' && !isRemark(event)),
    };
  }

  /** Every prompt, oldest first. */
  get prompts(): SentEvent[] {
    return this.server.events.filter((event) => event.sender === this.server.botId && outcomeOf(event) === 'waiting' && !isRemark(event));
  }

  /** Why the history is not as it must be; empty where it is. */
  faults(): string[] {
    return this.requests.flatMap((request) =>
      this.#faultsOf(request).map((fault) => `${request.verb} ${request.thing} by ${request.account}: ${fault}`),
    );
  }

  #faultsOf(request: Request): string[] {
    const found: string[] = [];
    const changes = this.things.changes.get(request.thing) ?? 0;
    if (changes > 1) found.push(`was done ${changes} times`);
    if (changes > 0 && !this.#mayRun(request)) found.push('was done without what its tier asks for');
    if (request.effect?.isRefused === true) found.push('was done after it had been refused');
    const { final } = this.answersTo(request.eventId);
    const missed = this.server.events.some(
      (event) =>
        event.sender === this.server.botId &&
        String(event.content['body']).startsWith('Not run,') &&
        String(event.content['body']).includes(request.account),
    );
    if (final.length > 1)
      found.push(`was answered ${final.length} times: ${final.map((event) => String(event.content['body'])).join(' | ')}`);
    const told = final.length > 0 || missed || (personOf[request.account] === null && this.#toldStranger(request.account) > 0);
    if (!told) found.push('was never answered');
    const done = final.some((event) => outcomeOf(event) === 'done');
    if (done && changes === 0) found.push('is called done and is not');
    if (changes > 0 && final.length === 1 && !done)
      found.push(`was done and is called ${String(outcomeOf(final[0]))}: ${String(final[0]?.content['body'])}`);
    return found;
  }

  #toldStranger(account: Account): number {
    return this.server.events.filter((event) => {
      const asked = answered(event);
      return asked !== null && this.server.event(asked)?.sender === account && outcomeOf(event) === 'refused';
    }).length;
  }

  /** Whether somebody who may had given what the tier asks for, and had not taken it back in time. */
  #mayRun({ account, verb, eventId, effect }: Request): boolean {
    const person = personOf[account];
    if (person === null) return false;
    const tier = verbs[verb];
    if (tier === 'change') return true;
    const { prompts } = this.answersTo(eventId);
    const codes = prompts.flatMap((prompt) => codeIn(prompt) ?? []);
    return this.server.events.some((event) => {
      if (effect === null || event.place === null || event.place >= effect.delivered) return false;
      const by = personOf[event.sender as Account] ?? null;
      const right = tier === 'confirmed' ? by === person : by !== null && by !== person;
      const given = tier === 'catastrophic' ? codes.includes(codeOf(event) ?? '') : isTick(event, prompts);
      return right && given && !this.#wasTakenBack(event, effect);
    });
  }

  #wasTakenBack({ redactedBy }: SentEvent, { settled }: Effect): boolean {
    const place = redactedBy === null ? null : (this.server.event(redactedBy)?.place ?? null);
    return place !== null && place < settled;
  }
}

/** Tells something about a request, and is not its answer. */
function isRemark(event: SentEvent): boolean {
  return /^(?:Too late to take the approval back|An approval was taken back)/.test(String(event.content['body']));
}

function isTick(event: SentEvent, prompts: readonly SentEvent[]): boolean {
  if (event.type !== 'm.reaction') return false;
  const { event_id: about, key } = event.content['m.relates_to'] as { event_id?: string; key?: string };
  return key?.startsWith('✅') === true && prompts.some((prompt) => prompt.event_id === about);
}

/** The code that a prompt asks for. */
function codeIn(prompt: SentEvent): string | null {
  return /!approve ([0-9A-F]{4}-[0-9A-F]{2})/.exec(String(prompt.content['body']))?.[1] ?? null;
}

/** The code that a message gives. */
function codeOf(event: SentEvent): string | null {
  return event.type === 'm.room.message' ? (/^!approve (\S+)$/.exec(String(event.content['body']))?.[1] ?? null) : null;
}

function outcomeOf(event: SentEvent | undefined): unknown {
  return (event?.content['org.steward.result'] as { outcome?: unknown } | undefined)?.outcome;
}

function answered(event: SentEvent): string | null {
  const relation = event.content['m.relates_to'] as { 'm.in_reply_to'?: { event_id?: string } } | undefined;
  return relation?.['m.in_reply_to']?.event_id ?? null;
}

/** Ids that are new each time, and the same in each run. */
function countingIds(): Ids {
  let count = 0;
  const next = (): string => (count += 1).toString(36);
  return {
    short: (length) => next().padStart(length, '0'),
    uuid: () => `uuid-${next()}`,
    secret: (alphabet, length) =>
      Array.from({ length }, (_, place) => alphabet[Math.floor((count += 1) / alphabet.length ** place) % alphabet.length]).join(''),
    fraction: () => 0.5,
  };
}

type Step = fc.AsyncCommand<object, History>;

const step = (name: string, run: (history: History) => Promise<void> | void): Step => ({
  check: () => true,
  run: async (_model, history) => {
    await run(history);
  },
  toString: () => name,
});

const account = fc.constantFrom(...people);
const verb = fc.constantFrom(...(Object.keys(verbs) as Verb[]));
const key = fc.constantFrom('✅', '✅\ufe0f', '❌', '👍');
const faults = fc.constantFrom<WriteFault>('lost', 'refused', 'limited');
const wait = fc.constantFrom(500, 4000, minute, 6 * minute, 16 * minute, 13 * 60 * minute);

/** Any step of a history. */
export const steps = [
  fc.tuple(account, verb).map(([who, what]) => step(`${who} asks ${what}`, (history) => history.ask(who, what))),
  fc.tuple(account, key, fc.nat(5)).map(([who, sign, back]) =>
    step(`${who} reacts ${sign} on prompt -${back}`, async (history) => {
      const prompt = history.prompts.at(-1 - back);
      if (prompt !== undefined) await history.react(who, prompt, sign);
    }),
  ),
  fc.tuple(account, fc.nat(5)).map(([who, back]) =>
    step(`${who} reacts ✅ on message -${back}`, async ({ server }) => {
      const message = server.events.filter((event) => event.type === 'm.room.message').at(-1 - back);
      if (message !== undefined && outcomeOf(message) !== 'waiting')
        await server.send(who, 'm.reaction', { 'm.relates_to': { rel_type: 'm.annotation', event_id: message.event_id, key: '✅' } });
    }),
  ),
  fc.tuple(account, fc.nat(5)).map(([who, back]) =>
    step(`${who} types the code of prompt -${back}`, async ({ server, prompts }) => {
      const code = prompts
        .map(codeIn)
        .filter((found) => found !== null)
        .at(-1 - back);
      if (code !== undefined) await server.send(who, 'm.room.message', { msgtype: 'm.text', body: `!approve ${code}` });
    }),
  ),
  // Chance alone seldom comes to a countdown that something happens in,
  fc.constantFrom('@alice:model', '@alice2:model').map((who) =>
    step(`${who} asks ruin and @bob approves`, async (history) => {
      await history.askAndApprove(who, 'ruin');
      await history.settle();
    }),
  ),
  // to a kill in the middle of a run,
  fc.tuple(fc.constantFrom('@alice:model', '@alice2:model'), verb, fc.nat(30)).map(([who, what, turns]) =>
    step(`${who} asks ${what}, it is approved, and kill ${turns} turns later`, async (history) => {
      await history.askAndApprove(who, what);
      if (what === 'ruin') await history.pass(10_000);
      await history.moments(turns);
      history.kill();
    }),
  ),
  // and to an approval that is taken back before Steward has heard it.
  fc.tuple(verb, fc.constantFrom('', ' late', ' in another order', ' while nothing can be sent'), fc.nat(6)).map(([what, how, turns]) =>
    step(`@alice asks ${what}, it is approved, and that taken back ${turns} turns later${how}`, async (history) => {
      const { server } = history;
      const approval = await history.askAndApprove('@alice:model', what, () => {
        if (how === ' late') server.hold(1);
        if (how === ' in another order') server.disturb('reversed');
        if (how === ' while nothing can be sent') server.faults.push('limited');
      });
      await history.moments(turns);
      if (approval === null) return;
      await server.send(approval.sender, 'm.room.redaction', { redacts: approval.event_id });
      await history.moments(turns);
      if (how === ' late') server.release();
    }),
  ),
  fc.nat(3).map((back) =>
    step(`approval -${back} is taken back`, async ({ server }) => {
      const given = server.events.filter(
        (event) => event.sender !== server.botId && (event.type === 'm.reaction' || codeOf(event) !== null),
      );
      const last = given.at(-1 - back);
      if (last !== undefined && last.redactedBy === null) await server.send(last.sender, 'm.room.redaction', { redacts: last.event_id });
    }),
  ),
  fc.constant(step('all settles', (history) => history.settle())),
  fc.nat(8).map((turns) => step(`${turns} turns`, (history) => history.moments(turns))),
  wait.map((ms) => step(`${ms / 1000} s pass`, (history) => history.pass(ms))),
  fc.constantFrom(-3600_000, -minute, minute, 3600_000).map((ms) => step(`the clock jumps ${ms / 1000} s`, (history) => history.jump(ms))),
  fc.constantFrom(1, 3, 10).map((count) => step(`${count} events come again`, ({ server }) => server.repeat(count))),
  fc.constantFrom(1, 2).map((count) => step(`the next ${count} of others come late`, ({ server }) => server.hold(count))),
  fc.constant(step('what is late comes', ({ server }) => server.release())),
  fc.constantFrom('reversed' as const, 'cut' as const).map((how) => step(`the next sync is ${how}`, ({ server }) => server.disturb(how))),
  faults.map((fault) => step(`the next write is ${fault}`, ({ server }) => void server.faults.push(fault))),
  fc.constant(step('kill', (history) => history.kill())),
  fc.constant(step('stop', (history) => history.stop())),
  fc.constant(step('start', (history) => history.start())),
];
