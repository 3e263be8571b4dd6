import { spawnSync } from 'node:child_process';

/** A recipient as `backup keys --json` shows it. */
export interface ShownRecipient {
  recipient: string;
  name: string;
  accepted: boolean;
  configured: boolean;
  confirmed: string | null;
  challenge: string | null;
}

/** What the program `age` prints for a file, or null where the key does not open it. */
export function openedBy(keyPath: string, file: string | Buffer): string | null {
  const { stdout, status } = spawnSync('age', ['-d', '-i', keyPath], { input: file, encoding: 'utf8' });
  return status === 0 ? stdout : null;
}

/**
 * Opens the challenge of a key as its owner does, and confirms it: backups that are sealed to it count as proven then.
 *
 * @param shell runs a command in the shell, and gives what it prints
 */
export async function confirmKeys(shell: (...words: string[]) => Promise<string> | string, keyPath: string): Promise<void> {
  const { recipients } = JSON.parse(await shell('backup', 'keys', '--json')) as { recipients: ShownRecipient[] };
  const lines = recipients.flatMap(({ challenge }) => (challenge === null ? [] : (openedBy(keyPath, challenge) ?? [])));
  if (lines.length === 0) throw new Error(`${keyPath} opens no challenge`);
  for (const line of lines) await shell(...line.trim().split(' '));
}
