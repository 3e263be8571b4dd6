import type { Rung } from './ladder.ts';

/**
 * Nobody is told a password, not even Steward: the account gets one that is thrown away, and its owner makes their own by
 * "Forgot password?" in any client, which mails a link to the address of the account.
 *
 * @param sendsResetMail whether the homeserver mails such links
 */
export function inviteRung(sendsResetMail: () => Promise<boolean>): Rung {
  return {
    async offer(_, { userId, email }) {
      if (email === null) return { refused: `no e-mail address of ${userId}` };
      return (await sendsResetMail()) ? { to: email } : { refused: 'the homeserver mails no reset links' };
    },
  };
}
