import type { Audit } from '../audit/audit.ts';
import type { Config } from '../config/schema.ts';
import { text } from '../reply/parts.ts';
import { failureReply, type Reply } from '../reply/reply.ts';
import type { InboxEvent } from '../store/inbox.ts';
import type { Post } from '../store/posts.ts';
import type { Store } from '../store/store.ts';
import type { Approvals, Verdict } from '../workflow/approvals.ts';
import type { Job } from '../workflow/job.ts';
import { isOperator, personOf } from '../workflow/roles.ts';
import type { RoomWriter } from './writer.ts';

export interface ReactionOptions {
  config: () => Config;
  store: Store;
  audit: Audit;
  approvals: Approvals;
  writer: RoomWriter;
  /** Marks an event as handled, in the caller's transaction. */
  done: (event: InboxEvent) => void;
}

/** An emoji, whatever variant of it a client sends: without variation selectors and skin tones. */
export function plainKey(key: string): string {
  return key.replace(/[\ufe0e\ufe0f]|[\u{1f3fb}-\u{1f3ff}]/gu, '');
}

/** What an emoji says to a request, or null. */
export function verdictOf(key: string): 'approve' | 'veto' | null {
  const plain = plainKey(key);
  return plain === '✅' ? 'approve' : plain === '❌' ? 'veto' : null;
}

/** Reactions on Steward's own prompts, and their removal, become decisions. On any other message they mean nothing. */
export class Reactions {
  readonly #options: ReactionOptions;

  constructor(options: ReactionOptions) {
    this.#options = options;
  }

  /** @param isOld whether the event is too old to be acted on, or came while nobody listened */
  handle(event: InboxEvent, post: Post, isOld: boolean): void {
    const { approvals, config, done, store } = this.#options;
    const { about, key } = event.content as { about: string; key: string };
    const said = verdictOf(key);
    const verdict = post.kind === 'superseded' && said === 'approve' ? null : said;
    const job = approvals.job(post.ref);
    const person = personOf(config(), event.sender);
    if (verdict === null || job === null || person === null || !isOpen(job) || !isOperator(config(), person)) {
      done(event);
      return;
    }
    store.transaction(() => {
      done(event);
      // A refusal is heeded however late it was heard.
      if (isOld && verdict === 'approve' && job.state === 'pending') {
        approvals.askAgain(job.id);
        return;
      }
      const { sender: userId, eventId, trust } = event;
      const outcome = approvals.decide(job.id, { eventId, person, userId, trust, verdict, by: 'reaction' });
      this.#tell(event, outcome, job, person, about);
    });
  }

  /** Somebody took an event back: an approval that it was counts no more, where the job does not run yet. */
  withdrawn(event: InboxEvent): void {
    const { approvals, done, store, writer } = this.#options;
    const { about } = event.content as { about: string };
    store.transaction(() => {
      done(event);
      const withdrawn = approvals.withdraw(about);
      if (withdrawn === null) return;
      const { job, inTime } = withdrawn;
      const line = inTime
        ? text('An approval was taken back: ', { code: job.command }, ' (', { code: job.id }, ') waits again.')
        : text('Too late to take the approval back: ', { code: job.command }, ' (', { code: job.id }, `) is ${job.state}.`);
      const reply: Reply = { command: job.command, outcome: inTime ? 'waiting' : 'refused', jobId: job.id, parts: [line] };
      writer.reply(event.eventId, reply, writer.placeOf(job), null);
    });
  }

  /** What the job's own answer does not tell. The same refusal of one person is told once. */
  #tell(event: InboxEvent, outcome: Verdict, job: Job, person: string, about: string): void {
    const { audit, writer } = this.#options;
    const place = { ...writer.placeOf(job), replyTo: about };
    if (outcome.kind === 'refused') {
      const { failure } = outcome;
      audit.record({
        event: 'access.refused',
        actor: { kind: 'person', person, userId: event.sender, trust: event.trust },
        ...{ command: job.command, tier: job.tier, jobId: job.id, eventId: event.eventId, failure: failure.id },
      });
      writer.reply(`${about}-${person}-${failure.id}`, failureReply(failure, job.command, { jobId: job.id }), place, null);
    } else if (outcome.kind === 'counted') {
      const line = text('Approved by ', { strong: person }, `; ${outcome.missing} more must approve.`);
      writer.reply(`${about}-${person}-counted`, { command: job.command, outcome: 'waiting', jobId: job.id, parts: [line] }, place, null);
    }
  }
}

function isOpen({ state }: Job): boolean {
  return state === 'pending' || state === 'approved';
}
