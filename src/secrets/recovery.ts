import type { Secret } from '../config/secret.ts';

/**
 * Where the recovery material of Steward's own identity lies: whoever has it can sign devices as Steward. `keep` is atomic
 * and durable: when it returns, the material is there whole, also after a power loss; it replaces what was there.
 */
export interface RecoveryStore {
  /** For a person: a path on the host. */
  readonly name: string;
  /** Null when there is none. Throws Failure `secret.not-stored` when it cannot be read. */
  read(): Promise<Secret | null>;
  /** @throws Failure `secret.not-stored` */
  keep(material: Secret): Promise<void>;
}
