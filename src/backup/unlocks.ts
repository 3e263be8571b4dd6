import type { Clock } from '../clock.ts';
import { Secret } from '../config/secret.ts';
import { Failure } from '../failures/failure.ts';
import { ageLibrary } from '../secrets/age-library.ts';
import { identitiesIn } from './identities.ts';

/** The private half of an epoch as it is stored: an age file that the admins can open. */
export interface SealedEpoch {
  name: string;
  /** `age1…`: its public half. */
  recipient: string;
  sealed: Uint8Array;
}

/** What waits for an admin to open epochs. */
export interface UnlockRequest {
  jobId: string;
  /** What for, in words: `backup verify 20261122_021500`. */
  what: string;
  epochs: readonly SealedEpoch[];
  /** What the answer is to be sealed to; its other half is in this process alone, and goes with the request. */
  recipient: string;
  /** What an admin types to answer, with `my.key` as the file of their identity. */
  lines: string;
  /** Milliseconds since the epoch. */
  until: number;
}

interface Waiting extends UnlockRequest {
  identity: Secret;
  resolve: (identities: Secret[]) => void;
}

/** Milliseconds that an answer is waited for. */
const within = 60 * 60_000;
/** Milliseconds between two looks at whether it is still wanted. */
const lookEvery = 500;

/**
 * Epochs opened by an admin for one job: Steward gives out a recipient of one use, the admin opens the sealed epoch and seals
 * what is in it to that recipient. Everything secret is in memory alone; what a stop cuts off is asked for anew by the next start.
 */
export class Unlocks {
  readonly #clock: Clock;
  readonly #waiting = new Map<string, Waiting>();
  readonly #answered = new Set<string>();
  /** Asks the people; null where there is nobody to ask, such as in a shell that took the store. */
  asked: ((request: UnlockRequest) => void) | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Oldest first. */
  open(): UnlockRequest[] {
    return [...this.#waiting.values()];
  }

  /** Whether the answer to a job's request was taken. */
  isAnswered(jobId: string): boolean {
    return this.#answered.has(jobId);
  }

  /**
   * Asks for the private halves of epochs, and waits.
   *
   * @param isCancelled whether the job is not wanted any more
   * @throws Failure `backup.no-key` when nobody answers in time or can be asked, `job.cancelled`
   */
  async ask(
    { jobId, what, epochs }: Pick<UnlockRequest, 'jobId' | 'what' | 'epochs'>,
    isCancelled: () => boolean,
    signal: AbortSignal,
  ): Promise<Secret[]> {
    const attempted = `open the keys for \`${what}\``;
    if (this.asked === null) throw new Failure('backup.no-key', { attempted });
    const assertWanted = (): void => {
      signal.throwIfAborted();
      if (isCancelled()) throw new Failure('job.cancelled', { attempted });
    };
    assertWanted();
    const { generateX25519Identity, identityToRecipient } = await ageLibrary();
    const identity = await generateX25519Identity();
    const recipient = await identityToRecipient(identity);
    const until = this.#clock.now() + within;
    let opened: Secret[] = [];
    const answered = new AbortController();
    const resolve = (identities: Secret[]): void => {
      opened = identities;
      answered.abort();
    };
    const lines = await unlockLines(epochs, recipient);
    const request: UnlockRequest = { jobId, what, epochs, recipient, lines, until };
    this.#waiting.set(jobId, { ...request, identity: new Secret(identity), resolve });
    try {
      this.asked(request);
      const end = this.#clock.monotonic() + within;
      while (!answered.signal.aborted) {
        assertWanted();
        if (this.#clock.monotonic() > end) throw new Failure('backup.no-key', { attempted, reason: 'nobody opened them within an hour' });
        await this.#clock.sleep(lookEvery, answered.signal);
      }
      return opened;
    } finally {
      this.#waiting.delete(jobId);
    }
  }

  /**
   * Takes an answer: an age file, armored, sealed to the request's recipient, with the private halves of its epochs.
   *
   * @throws Failure `backup.nothing-to-unlock`, `backup.wrong-unlock`
   */
  async answer(jobId: string, armored: Secret): Promise<void> {
    const request = this.#waiting.get(jobId);
    if (request === undefined) throw new Failure('backup.nothing-to-unlock', { attempted: `unlock the job ${jobId}` });
    const wrong = (reason: string): Failure => new Failure('backup.wrong-unlock', { attempted: `unlock the job ${jobId}`, reason });
    const { armor, Decrypter, identityToRecipient } = await ageLibrary();
    const decrypter = new Decrypter();
    decrypter.addIdentity(request.identity.reveal());
    let file: Uint8Array;
    try {
      file = armor.decode(armored.reveal());
    } catch {
      throw wrong('it is no armored file of age: what `age -a` prints, from its first line to its last');
    }
    const text = await decrypter.decrypt(file, 'text').catch(() => null);
    if (text === null) throw wrong(`it is cut, or not sealed to ${request.recipient}, which is for this request alone`);
    const found = new Map<string, Secret>();
    for (const line of identitiesIn(new Secret(text))) {
      const recipient = await identityToRecipient(line).catch(() => null);
      if (recipient !== null) found.set(recipient, new Secret(line));
    }
    const missing = request.epochs.filter(({ recipient }) => !found.has(recipient));
    if (missing.length > 0) throw wrong(`the key of ${missing.map(({ name }) => name).join(', ')} is not in it`);
    // What else the file held is not kept.
    const identities = request.epochs.flatMap(({ recipient }) => found.get(recipient) ?? []);
    this.#answered.add(jobId);
    request.resolve(identities);
  }
}

async function unlockLines(epochs: readonly SealedEpoch[], recipient: string): Promise<string> {
  const { armor } = await ageLibrary();
  const opens = epochs.map(({ sealed }) => `age -d -i my.key <<'END'\n${armor.encode(sealed).trim()}\nEND`);
  const sealing = `age -a -r ${recipient}`;
  const [only] = opens;
  if (opens.length === 1 && only !== undefined) return only.replace("<<'END'", `<<'END' | ${sealing}`);
  return `{\n${opens.join('\n')}\n} | ${sealing}`;
}
