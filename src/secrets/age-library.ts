import type * as Age from 'age-encryption';

/** The library of age (age-encryption.org/v1), loaded when it is first needed: most lines in a shell, and a start, do without. */
export const ageLibrary = (): Promise<typeof Age> => import('age-encryption');
