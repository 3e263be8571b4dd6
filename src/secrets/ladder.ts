import { ways } from '../config/schema.ts';
import type { Handovers } from './handovers.ts';

/** From the way that tells nobody anything to the one that always works. */
export type Way = (typeof ways)[number];

/** For whom a password is, and for which account. */
export interface Asker {
  /** Name in `people:`; null for the shell, which names nobody. */
  person: string | null;
  /** The account that asked. */
  userId: string | null;
}

export interface Account {
  userId: string;
  /** An address at which the homeserver knows it, or will know it. */
  email: string | null;
}

/** The way that was chosen, as a plan keeps it: JSON, and no secret. */
export interface Choice {
  way: Way;
  /** Where to: an e-mail address, an age recipient; null for the file. */
  to: string | null;
  /** Why it is none of the ways before it. */
  why: string[];
}

/** One way. `offer` only reads: it says where to, or why it cannot be. */
export interface Rung {
  offer(asker: Asker, account: Account): Promise<{ to: string } | { refused: string }>;
}

/**
 * Chooses how a new password reaches a human. Whatever is chosen, a password is first in the file sink, and stays there
 * until it has been handed over; the file itself is the last rung.
 */
export class Ladder {
  readonly handovers: Handovers;
  readonly #rungs: Record<Exclude<Way, 'file'>, Rung>;

  constructor(rungs: Record<Exclude<Way, 'file'>, Rung>, handovers: Handovers) {
    this.#rungs = rungs;
    this.handovers = handovers;
  }

  /** There is a room, and whoever is in it can be written to. */
  set direct(rung: Rung) {
    this.#rungs.dm = rung;
  }

  /**
   * @param order the ways to try when none was asked for
   * @param asked the way to begin with, before all that are below it
   */
  async choose(order: readonly Way[], asked: Way | undefined, asker: Asker, account: Account): Promise<Choice> {
    const why: string[] = [];
    // The shell reads the file itself: nothing is safer, and nobody else is there.
    const tried = asker.person === null && asked === undefined ? [] : asked === undefined ? order : ways.slice(ways.indexOf(asked));
    for (const way of tried) {
      if (way === 'file') break;
      const offer = await this.#rungs[way].offer(asker, account);
      if ('to' in offer) return { way, to: offer.to, why };
      why.push(offer.refused);
    }
    return { way: 'file', to: null, why };
  }
}
