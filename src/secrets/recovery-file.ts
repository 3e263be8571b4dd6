import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Config } from '../config/schema.ts';
import { Secret } from '../config/secret.ts';
import { Failure } from '../failures/failure.ts';
import { writePrivateFile } from './private-file.ts';
import type { RecoveryStore } from './recovery.ts';

/** Where the configuration has it. */
export function recoveryFilePath({ dataDir, encryption }: Pick<Config, 'dataDir' | 'encryption'>): string {
  return encryption.recoveryPath ?? join(dataDir, 'secrets', 'crypto-recovery.json');
}

/** One 0600 file. */
export class RecoveryFile implements RecoveryStore {
  readonly name: string;

  constructor(path: string) {
    this.name = path;
  }

  async read(): Promise<Secret | null> {
    try {
      return new Secret(await readFile(this.name, 'utf8'));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT') return null;
      throw new Failure('secret.not-stored', {
        attempted: `read ${this.name}`,
        reason: `the system says ${code ?? 'unknown'}`,
        cause: error,
      });
    }
  }

  async keep(material: Secret): Promise<void> {
    try {
      await writePrivateFile(this.name, `${material.reveal()}\n`);
    } catch (error) {
      throw new Failure('secret.not-stored', {
        attempted: `write ${this.name}`,
        reason: `the system says ${(error as NodeJS.ErrnoException).code ?? 'unknown'}`,
        cause: error,
      });
    }
  }
}
