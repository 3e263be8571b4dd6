import { createHmac, type KeyObject } from 'node:crypto';
import type { Clock } from '../clock.ts';
import { Failure } from '../failures/failure.ts';
import { ageLibrary } from '../secrets/age-library.ts';
import { encryptTo } from '../secrets/age.ts';
import type { BackupRecipient, BackupRecipients } from '../store/backup-recipients.ts';
import { identitiesIn, type KeySettings } from './identities.ts';

/** What the configuration says otherwise than what was accepted. */
export interface RecipientChange {
  /** All of the configuration, sorted. */
  recipients: string[];
  added: string[];
  removed: string[];
}

/**
 * Who can open backups: the recipients of the first configuration, then those of each change that was approved. Each shows
 * once that it can, by the code in a challenge that is sealed to it: a recipient whose key nobody has would make backups that
 * nobody can open.
 */
export class Recipients {
  readonly #settings: KeySettings;
  readonly #rows: BackupRecipients;
  readonly #clock: Clock;
  readonly #key: () => KeyObject;

  /** @param key private; codes are made by it, so that none need be kept */
  constructor(settings: KeySettings, rows: BackupRecipients, clock: Clock, key: () => KeyObject) {
    this.#settings = settings;
    this.#rows = rows;
    this.#clock = clock;
    this.#key = key;
  }

  /** Whom backups are sealed to; sorted. @throws Failure `backup.no-recipient` */
  async accepted(): Promise<string[]> {
    const accepted = this.#accepted();
    if (accepted.length > 0) return accepted;
    const configured = await this.configured();
    if (configured.length === 0) throw new Failure('backup.no-recipient', { attempted: 'back up' });
    this.#rows.accept(configured, this.#clock.now());
    return configured;
  }

  /** Those of the configuration: the admins' own, and Steward's, where a key is mounted; sorted. */
  async configured(): Promise<string[]> {
    return [...new Set([...this.#settings.recipients, ...(await this.own())])].sort();
  }

  /** Those whose keys are mounted: Steward opens by itself what is sealed to them. */
  async own(): Promise<string[]> {
    const { identity } = this.#settings;
    if (identity === undefined) return [];
    const { identityToRecipient } = await ageLibrary();
    return Promise.all(identitiesIn(identity).map((line) => identityToRecipient(line)));
  }

  /** A change of the configuration that waits for its approval, or null. */
  async change(): Promise<RecipientChange | null> {
    const accepted = this.#accepted();
    const recipients = await this.configured();
    const added = recipients.filter((recipient) => !accepted.includes(recipient));
    const removed = accepted.filter((recipient) => !recipients.includes(recipient));
    return accepted.length === 0 || added.length + removed.length === 0 ? null : { recipients, added, removed };
  }

  accept(recipients: readonly string[]): void {
    this.#rows.accept(recipients, this.#clock.now());
  }

  /** Those that backups are sealed to, and those of the configuration; sorted. */
  async all(): Promise<BackupRecipient[]> {
    const known = new Map(this.#rows.all().map((row) => [row.recipient, row]));
    const all = [...new Set([...this.#accepted(), ...(await this.configured())])].sort();
    return all.map((recipient) => known.get(recipient) ?? { recipient, isAccepted: false, confirmedAt: null });
  }

  /** Those that have shown it. */
  confirmed(): ReadonlySet<string> {
    return new Set(this.#rows.all().flatMap(({ recipient, confirmedAt }) => (confirmedAt === null ? [] : [recipient])));
  }

  confirm(recipient: string): void {
    this.#rows.confirm(recipient, this.#clock.now());
  }

  /** An armored file of age that only the recipient can open: what its owner is to type. */
  challenge(recipient: string): Promise<string> {
    return encryptTo(recipient, `backup keys confirm ${this.#codeOf(recipient)}\n`);
  }

  /** The recipient whose challenge has this code, or null. */
  async ofCode(code: string): Promise<string | null> {
    const all = await this.all();
    return all.find(({ recipient }) => this.#codeOf(recipient) === code.toUpperCase())?.recipient ?? null;
  }

  #accepted(): string[] {
    return this.#rows.all().flatMap(({ recipient, isAccepted }) => (isAccepted ? [recipient] : []));
  }

  /** 64 bits: `1A2B-3C4D-5E6F-7A8B`. */
  #codeOf(recipient: string): string {
    const key = this.#key().export({ format: 'der', type: 'pkcs8' });
    const hash = createHmac('sha256', key).update(`challenge of a recipient of backups\n${recipient}`).digest('hex');
    return hash
      .slice(0, 16)
      .toUpperCase()
      .replaceAll(/(?<=.)(?=(.{4})+$)/g, '-');
  }
}

/** What an admin types to open a challenge, with `my.key` as the file of their identity. */
export function challengeLines(armored: string): string {
  return `age -d -i my.key <<'END'\n${armored.trim()}\nEND`;
}
