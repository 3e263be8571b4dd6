import { readFile } from 'node:fs/promises';
import { Secret } from '../config/secret.ts';
import { Failure } from '../failures/failure.ts';
import { writePrivateFile } from './private-file.ts';
import type { RecoveryStore } from './recovery.ts';

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
