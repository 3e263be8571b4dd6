import type { Inline } from '../../reply/parts.ts';
import { fingerprint } from '../../secrets/age.ts';
import type { CommandContext } from '../context.ts';

/** What people call a recipient of backups: whose it is, where that is known. */
export async function nameOf({ backups, recipients }: CommandContext, recipient: string): Promise<string> {
  if ((await backups.keys.recipients.own()).includes(recipient)) return 'Steward’s own';
  return recipients.personOf(recipient) ?? fingerprint(recipient);
}

/** Name, fingerprint and the recipient itself. */
export const recipientLine = (recipient: string, name: string): Inline[] => [
  { strong: name },
  ...(name === fingerprint(recipient) ? [] : [` (${fingerprint(recipient)})`]),
  ': ',
  { code: recipient },
];
