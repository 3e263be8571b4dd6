/** Milliseconds that an answer may take. */
const bound = 2000;

/** Whether the homeserver answers its clients now; null where no address is known. */
export async function answersClients(url: string | undefined): Promise<boolean | null> {
  if (url === undefined) return null;
  try {
    const answer = await fetch(new URL('/_matrix/client/versions', url), { signal: AbortSignal.timeout(bound), redirect: 'error' });
    await answer.body?.cancel();
    return answer.ok;
  } catch {
    return false;
  }
}
