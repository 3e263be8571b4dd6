import type { SecretNote } from './sink.ts';

/** A note as a human reads it. `at` and `expiresAt` are milliseconds since the epoch. */
export function noteText(note: SecretNote, at: number, expiresAt: number): string {
  return [
    'Matrix user credentials',
    '=======================',
    `Created: ${new Date(at).toISOString()}`,
    `Expires: ${new Date(expiresAt).toISOString()}`,
    '',
    `User ID: ${note.userId}`,
    `Password: ${note.password.reveal()}`,
    `Homeserver: ${note.homeserverUrl}`,
    '',
  ].join('\n');
}
