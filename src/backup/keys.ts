import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { Decrypter, Encrypter, generateX25519Identity, identityToRecipient } from 'age-encryption';
import type { Clock } from '../clock.ts';
import { Secret } from '../config/secret.ts';
import { Failure } from '../failures/failure.ts';
import type { BackupStore, EpochRow } from '../store/backups.ts';

export interface KeySettings {
  /** The admins' own. */
  recipients: readonly string[];
  /** Opens backups without an admin, where it is given. */
  identity?: Secret | undefined;
}

/**
 * Backups are sealed to an epoch: a key pair made anew each month, whose private half is kept only sealed to the admins'
 * recipients. Nobody who has Steward's store can open a backup by it.
 */
export class EpochKeys {
  readonly #settings: KeySettings;
  readonly #store: BackupStore;
  readonly #clock: Clock;

  constructor(settings: KeySettings, store: BackupStore, clock: Clock) {
    this.#settings = settings;
    this.#store = store;
    this.#clock = clock;
  }

  /** `mounted`: Steward opens backups by itself; `sealed`: only an admin does. */
  get mode(): 'sealed' | 'mounted' {
    return this.#settings.identity === undefined ? 'sealed' : 'mounted';
  }

  /**
   * The epoch to seal to now, made where this month has none for these recipients.
   *
   * @throws Failure `backup.no-recipient`
   */
  async current(): Promise<EpochRow> {
    const recipients = await this.#recipients();
    if (recipients.length === 0) throw new Failure('backup.no-recipient', { attempted: 'back up' });
    const now = this.#clock.now();
    const month = new Date(now).toISOString().slice(0, 7);
    const epochs = this.#store.epochs().filter(({ name }) => name.startsWith(month));
    const found = epochs.findLast((epoch) => String(epoch.recipients) === String(recipients));
    if (found !== undefined) return found;
    const identity = await generateX25519Identity();
    const recipient = await identityToRecipient(identity);
    const encrypter = new Encrypter();
    for (const admin of recipients) encrypter.addRecipient(admin);
    const sealed = Buffer.from(await encrypter.encrypt(`# epoch ${month}, ${recipient}\n${identity}\n`));
    const epoch = { name: epochs.length === 0 ? month : `${month}-${epochs.length + 1}`, createdAt: now, recipient, sealed, recipients };
    this.#store.addEpoch(epoch);
    return epoch;
  }

  all(): EpochRow[] {
    return this.#store.epochs();
  }

  /** What opens all epochs, where it is given. */
  get identity(): Secret | null {
    return this.#settings.identity ?? null;
  }

  async #recipients(): Promise<string[]> {
    const { recipients, identity } = this.#settings;
    const own = identity === undefined ? [] : await Promise.all(identitiesIn(identity).map((line) => identityToRecipient(line)));
    return [...new Set([...recipients, ...own])].sort();
  }
}

/** Private halves of the epochs that an admin's identity opens, by the epoch's name. */
export async function epochIdentities(
  identity: Secret,
  epochs: readonly { name: string; recipient: string; sealed: Uint8Array }[],
): Promise<Map<string, Secret>> {
  const decrypter = new Decrypter();
  for (const line of identitiesIn(identity)) decrypter.addIdentity(line);
  const opened = new Map<string, Secret>();
  for (const { name, recipient, sealed } of epochs) {
    const text = await decrypter.decrypt(new Uint8Array(sealed), 'text').catch(() => '');
    for (const line of identitiesIn(new Secret(text)))
      if ((await identityToRecipient(line)) === recipient) opened.set(name, new Secret(line));
  }
  return opened;
}

/** The lines of a file of age that are identities. */
export function identitiesIn(file: Secret): string[] {
  return file
    .reveal()
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line.startsWith('AGE-SECRET-KEY-'));
}

/** The key that manifests are signed with, made when it is first needed. */
export function signingKey(path: string): KeyObject {
  if (!existsSync(path)) {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const pem = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' });
    writeFileSync(`${path}.tmp`, pem, { mode: 0o600, flush: true });
    renameSync(`${path}.tmp`, path);
  }
  return createPrivateKey(readFileSync(path));
}
