import { ensureAge } from '../kit/age.ts';
import { ensureCompose, ensureDocker } from '../kit/docker.ts';
import { ensureEngines } from '../kit/engines.ts';
import { ensurePostgres } from '../kit/postgres.ts';
import { ensureS3 } from '../kit/s3.ts';
import { ensureShells } from '../kit/shells.ts';
import { ensureSynapse } from '../kit/synapse.ts';

/** A part of the tests that needs the same real parts. */
export interface Tier {
  name: string;
  /** Where its tests are, below test/; null for all that are in no other tier's folder. */
  folder: string | null;
  /** Brings what is missing. Errors: MissingPart where this machine cannot. */
  ensure: (() => Promise<unknown>)[];
  /** Test files at a time. */
  workers: number;
  /** Whether a run that names no tier has it. */
  byDefault: boolean;
}

export const TIERS: readonly Tier[] = [
  { name: 'unit', folder: null, ensure: [], workers: 2, byDefault: true },
  {
    name: 'integration',
    folder: 'integration',
    ensure: [ensureSynapse, ensurePostgres, ensureShells, ensureAge, ensureS3, ensureEngines],
    workers: 2,
    byDefault: true,
  },
  { name: 'compose', folder: 'compose', ensure: [ensureSynapse, ensurePostgres, ensureDocker, ensureCompose], workers: 1, byDefault: true },
  { name: 'cluster', folder: 'cluster', ensure: [ensureSynapse], workers: 1, byDefault: true },
  { name: 'long', folder: 'long', ensure: [ensureSynapse, ensurePostgres], workers: 1, byDefault: false },
];
