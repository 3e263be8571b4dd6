import { z } from 'zod';

/** Argument types that several commands share. Each message ends the sentence "VALUE must be …". */

const matrixTo = /^https:\/\/matrix\.to\/#\/([^?]+)(?:\?.*)?$/;

/** The id in a matrix.to permalink, or the text as it is. */
export function withoutPermalink(text: string): string {
  const encoded = matrixTo.exec(text)?.[1];
  if (encoded === undefined) return text;
  try {
    return decodeURIComponent(encoded);
  } catch {
    return text;
  }
}

const mxidForm = /^@[^\s:]+:[^\s/?#]+$/u;
const localpartForm = /^[^\s:@]+$/u;

/** An account that exists: a localpart, an MXID, a pill or a permalink. Historical ids may hold nearly anything. */
export const userReference = z
  .string()
  .transform(withoutPermalink)
  .refine(
    (text) => text.length <= 255 && !text.includes('\0') && (mxidForm.test(text) || localpartForm.test(text)),
    'a user such as alice or @alice:example.org',
  );

/** A localpart for a new account, by the Matrix specification's grammar for user identifiers. */
export const newUser = z
  .string()
  .transform(withoutPermalink)
  .superRefine((text, issue) => {
    const localpart = text.startsWith('@') ? (text.slice(1).split(':')[0] ?? '') : text;
    const lower = localpart.toLowerCase();
    if (text.length > 255) issue.addIssue('at most 255 characters long');
    else if (/^\d+$/.test(localpart)) issue.addIssue('a name that is not digits alone, which are for guests');
    else if (localpart.startsWith('_')) issue.addIssue('a name that does not start with _, which is for application services');
    else if (localpart !== lower && /^[a-z0-9._=\-/+]+$/.test(lower)) issue.addIssue(`lower case: ${lower}`);
    else if (!/^[a-z0-9._=\-/+]+$/.test(localpart)) issue.addIssue('a name of a-z, 0-9 and . _ = - / + only');
  });

/** Milliseconds, typed as `180d`. */
export const durationArgument = z
  .string()
  .regex(/^[1-9]\d{0,4}(h|d|w)$/, 'a time such as 12h, 180d or 26w')
  .transform((text) => Number.parseInt(text, 10) * (({ h: 3600, d: 86_400, w: 604_800 }[text.at(-1) ?? 'd'] ?? 86_400) * 1000));

/** A whole number typed as digits. */
export const countArgument = (smallest: number, largest: number) =>
  z
    .string()
    .regex(/^\d{1,9}$/, `a whole number from ${smallest} to ${largest}`)
    .transform(Number)
    .refine((count) => count >= smallest && count <= largest, `a whole number from ${smallest} to ${largest}`);

/** The MXID that a reference means on a homeserver. */
export function userIdOf(reference: string, serverName: string): string {
  return reference.startsWith('@') && reference.includes(':') ? reference : `@${reference.replace(/^@/, '')}:${serverName}`;
}
