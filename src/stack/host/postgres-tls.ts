import { readFile } from 'node:fs/promises';
import type { ConnectionOptions } from 'node:tls';
import type { TlsSettings } from '../synapse-config.ts';

/** TLS to PostgreSQL, by libpq's words (its manual, "SSL Support"). */

/**
 * What to try, in order: options of node:tls, or false for a connection without. Its files are read each time.
 *
 * @param host a folder is that of a unix socket, which has no TLS
 */
export async function tlsAttempts(host: string, settings: TlsSettings): Promise<(ConnectionOptions | false)[]> {
  const { mode } = settings;
  if (mode === 'disable' || host.startsWith('/')) return [false];
  const with_ = await optionsOf(settings);
  if (mode === 'allow') return [false, with_];
  return mode === 'prefer' ? [with_, false] : [with_];
}

async function optionsOf({ mode, rootCert, cert, key }: TlsSettings): Promise<ConnectionOptions> {
  const read = (path: string | undefined): Promise<Buffer | undefined> =>
    path === undefined || path === 'system' ? Promise.resolve(undefined) : readFile(path);
  const [ca, ownCert, ownKey] = await Promise.all([read(rootCert), read(cert), read(key)]);
  // As libpq has it: `require` with a root certificate looks at the chain.
  const looks = mode === 'verify-ca' || mode === 'verify-full' || (mode === 'require' && ca !== undefined);
  return {
    rejectUnauthorized: looks,
    ...(ca === undefined ? {} : { ca }),
    ...(ownCert === undefined ? {} : { cert: ownCert }),
    ...(ownKey === undefined ? {} : { key: ownKey }),
    ...(mode === 'verify-full' ? {} : { checkServerIdentity: () => undefined }),
  };
}

const withoutTls = 'The server does not support SSL connections';

/** Whether the next attempt may do: the server has no TLS, or one that this machine does not take, or wants another kind of connection. */
export function wantsOther(error: unknown): boolean {
  const { code = '', message, severity } = error as { code?: string; message?: string; severity?: string };
  // 28000: no line of pg_hba.conf for such a connection. Whatever else the server says, it says in either.
  if (severity !== undefined) return code === '28000';
  return (
    message === withoutTls ||
    !(/timeout/i.test(message ?? '') || /^(ECONNREFUSED|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|ENOENT)$/.test(code))
  );
}

/** Whether it is of a certificate, of a file of TLS's, or of a server without. Its message names paths and hosts only. */
export function isOfTls(error: unknown): boolean {
  const { code = '', message, syscall } = error as { code?: string; message?: string; syscall?: string };
  return message === withoutTls || /CERT|SIGNATURE|^ERR_(TLS|SSL|OSSL)/.test(code) || (syscall === 'open' && /^E[A-Z]+$/.test(code));
}

/** The same for PostgreSQL's programs. */
export function tlsEnvironment({ mode, rootCert, cert, key }: TlsSettings): Record<string, string> {
  const named = { PGSSLMODE: mode, PGSSLROOTCERT: rootCert, PGSSLCERT: cert, PGSSLKEY: key };
  return Object.fromEntries(Object.entries(named).filter((entry): entry is [string, string] => entry[1] !== undefined));
}
