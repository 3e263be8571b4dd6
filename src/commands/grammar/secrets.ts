/** Passwords and tokens are never taken in a room; that a value follows does not matter, the habit does. Phones make one dash of two. */
export function holdsSecret(text: string): boolean {
  return (
    /(?:^|\s)(?:[-\u2010-\u2015\u2212]{1,2}(?:password|passwd|token|secret|access-token)(?![\w-])|-p|(?:password|passwd|token)[=:])/iu.test(
      text,
    ) ||
    /\b(?:syt|mct|mat)_[A-Za-z0-9_]{16,}/u.test(text) ||
    /AGE-SECRET-KEY-1/u.test(text)
  );
}
